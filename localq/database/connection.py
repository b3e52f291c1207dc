"""Opening an SQLite file, and its refusals in localq's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from localq.errors import LibraryError, LocalqError, StorageError
from localq.messages import msg

__all__ = ["Locked", "NoRoom", "connected", "damaged"]


class Locked(LibraryError):
    """Another process holds the file."""


class NoRoom(StorageError):
    """The disk is full."""


@contextmanager
def connected(path: Path, mode: str, seconds: float) -> Iterator[sqlite3.Connection]:
    """The file opened for the length of the block; what is not committed then is undone.

    `mode` is SQLite's: "rw" never makes the file, "rwc" may. Waits `seconds` for a lock. What
    SQLite raises in the block becomes a LibraryError or StorageError that names the file.
    """
    try:
        with closing(_connect(path, mode, seconds)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise _explain(path, error) from error


def damaged(path: Path, problem: str) -> LibraryError:
    return LibraryError(
        msg("{path}: the catalogue is damaged ({problem})", path=path, problem=problem),
        hint=msg("your models are untouched: move this file away, then: localq doctor --repair"),
    )


def _connect(path: Path, mode: str, seconds: float) -> sqlite3.Connection:
    # As a URI, because only so SQLite can be told not to make the file.
    absolute = path.absolute().as_posix()
    # All that sqlite.org/uri.html gives a meaning, and bytes that may be no UTF-8.
    absolute = "".join(
        chr(byte) if byte < 0x80 and byte not in b"%?#" else f"%{byte:02x}"
        for byte in os.fsencode(absolute)
    )
    root = "file://" if absolute.startswith("/") else "file:///"
    connection = sqlite3.connect(
        f"{root}{absolute}?mode={mode}",
        uri=True,
        timeout=seconds,
        isolation_level=None,  # transactions begin and end where the code says so
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _explain(path: Path, error: sqlite3.DatabaseError) -> LocalqError:
    detail = getattr(error, "sqlite_errorcode", 0)
    code = detail & 0xFF
    if detail == sqlite3.SQLITE_IOERR_SHMSIZE:  # the file by which processes talk did not fit
        code = sqlite3.SQLITE_FULL
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Locked(
                msg("{path}: another localq is writing to it, or another program", path=path),
                hint=msg("wait until it is done, then run the same command again"),
            )
        case sqlite3.SQLITE_FULL:
            return NoRoom(
                msg("{path}: the disk is full", path=path),
                hint=msg("make room: localq trash empty, or localq rm MODEL --now"),
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return StorageError(
                msg("{path}: cannot be opened: {error}", path=path, error=error),
                hint=msg("see that its folder may be written, or let LOCALQ_HOME name another"),
            )
        case sqlite3.SQLITE_IOERR:
            return StorageError(
                msg("{path}: cannot be opened: {error}", path=path, error=error),
                hint=msg("see whether its disk is full, or failing"),
            )
        case _:
            return LibraryError(
                msg("{path}: the catalogue cannot be used: {error}", path=path, error=error)
            )
