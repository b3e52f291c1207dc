"""Bringing the tables of an older database up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from localq.database.full_text import has_full_text
from localq.database.migrations import ALL
from localq.database.migrations.m6_sessions import WORDS
from localq.errors import LibraryError
from localq.messages import msg

__all__ = ["VERSION", "migrate"]

_MIGRATIONS = ALL
VERSION = len(_MIGRATIONS)
"""What `PRAGMA user_version` says in a catalogue of today."""


def migrate(connection: sqlite3.Connection, database: Path) -> None:
    """Bring a catalogue up to today's version; LibraryError where it is a later one."""
    if _version(connection, database) == VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    # Read once more: another process may have done it while this one waited.
    left_out = () if has_full_text(connection) else (WORDS,)  # for localq.sessions to make up for
    for statements in _MIGRATIONS[_version(connection, database) :]:
        for statement in statements:
            if statement not in left_out:
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, database: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= VERSION:
        raise LibraryError(
            msg(
                "{database}: made by a newer localq (catalogue version {version}; this one"
                " knows {version2})",
                database=database,
                version=version,
                version2=VERSION,
            ),
            hint=msg("pip install --upgrade localq"),
        )
    return int(version)
