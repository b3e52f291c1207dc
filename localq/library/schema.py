"""The tables of the catalogue, and how an older catalogue gets to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from localq.errors import LibraryError

__all__ = ["VERSION", "migrate"]

# One tuple of statements per version; a released one never changes, new ones go to the end.
# `key` is the case-folded name: names that differ in capitals alone are the same model.
_MIGRATIONS = (
    (
        """
        CREATE TABLE models (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            format TEXT NOT NULL,
            quant TEXT NOT NULL,
            architecture TEXT NOT NULL,
            parameters INTEGER NOT NULL CHECK (parameters >= 0),
            size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
            path TEXT NOT NULL,
            source_repo TEXT,
            source_revision TEXT,
            created_at REAL NOT NULL,
            used_at REAL NOT NULL
        )
        """,
        """
        CREATE TABLE files (
            path TEXT PRIMARY KEY,
            model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
            size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX files_of_model ON files (model_id)",
    ),
)
VERSION = len(_MIGRATIONS)
"""What `PRAGMA user_version` says in a catalogue of today."""


def migrate(connection: sqlite3.Connection, database: Path) -> None:
    """Bring a catalogue up to today's version; LibraryError where it is a later one."""
    if _version(connection, database) == VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    # Read once more: another process may have done it while this one waited.
    for statements in _MIGRATIONS[_version(connection, database) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, database: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= VERSION:
        raise LibraryError(
            f"{database}: made by a newer localq"
            f" (catalogue version {version}; this one knows {VERSION})",
            hint="pip install --upgrade localq",
        )
    return int(version)
