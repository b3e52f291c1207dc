"""The content each file should have, and whether it was seen to have it.

A hash is 64 hexadecimal digits of SHA-256. Hard-linked files share their content with another
program's: if that changes it in place, only comparing with the hash will tell.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from localq.database.rows import insert
from localq.errors import BadFileError, Cancelled, LibraryError
from localq.library.catalogue import Catalogue
from localq.library.transaction import Transaction
from localq.messages import msg

__all__ = ["FileHash", "Hashes", "SaidBy", "hash_file", "is_sha256", "put_hash"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 4 << 20


class SaidBy(StrEnum):
    """Who knows the hash, the most trustworthy first."""

    HUB = "hub"
    """The Hub's listing; the file was compared with it when it came."""
    MADE = "made"
    """localq wrote the file, and hashed it as it did."""
    NAME = "name"
    """Another tool that names its files by their content; to be believed once compared."""
    RECORDED = "recorded"
    """localq read the file, some time after it came."""


@dataclass(frozen=True, slots=True)
class FileHash:
    """What one file should be. The last three are of the file when it was last seen to be that;
    `verified_at` None: not yet."""

    sha256: str
    said_by: SaidBy
    size_bytes: int | None = None
    mtime_ns: int | None = None
    inode: int | None = None
    verified_at: float | None = None

    def still_holds(self, status: os.stat_result) -> bool:
        """Whether nothing suggests that the file changed since it was last compared."""
        return self.verified_at is not None and (
            (self.size_bytes, self.mtime_ns, self.inode)
            == (status.st_size, status.st_mtime_ns, status.st_ino)
        )


@dataclass(frozen=True, slots=True)
class Hashes:
    """The hashes of one catalogue's files, by the places that `Transaction.files` names."""

    catalogue: Catalogue

    def of_model(self, name: str) -> dict[str, FileHash]:
        """Those known of the files of the entry of this name."""
        return self._query(
            "JOIN files USING (path) JOIN models ON models.id = model_id WHERE key = ?",
            name.casefold(),
        )

    def all(self) -> dict[str, FileHash]:
        return self._query("")

    def record(self, place: str, known: FileHash) -> None:
        """Note what a file was found to be; LibraryError where the file is no entry's any more."""
        with self.catalogue.write() as transaction:
            put_hash(transaction, place, known)

    def _query(self, rest: str, *values: str) -> dict[str, FileHash]:
        with self.catalogue.read() as transaction:
            if transaction is None:
                return {}
            rows = transaction.connection.execute(
                "SELECT hashes.path, sha256, said_by, hashes.size_bytes, mtime_ns, inode,"
                f" verified_at FROM hashes {rest}",
                values,
            ).fetchall()
        return {str(path): _file_hash(*row) for path, *row in rows}


def put_hash(transaction: Transaction, place: str, known: FileHash) -> None:
    """As `Hashes.record`, within a transaction."""
    if not is_sha256(known.sha256):
        raise LibraryError(
            msg("{place}: {sha256!r} is not a SHA-256", place=place, sha256=known.sha256[:80])
        )
    row = transaction.connection.execute("SELECT 1 FROM files WHERE path = ?", (place,))
    if row.fetchone() is None:
        raise LibraryError(msg("{place}: removed by another localq just now", place=place))
    fact = {
        "path": place,
        "sha256": known.sha256,
        "said_by": known.said_by.value,
        "size_bytes": known.size_bytes,
        "mtime_ns": known.mtime_ns,
        "inode": None if known.inode is None else str(known.inode),
        "verified_at": known.verified_at,
    }
    insert(transaction.connection, "hashes", fact, replace=True)


def verified(sha256: str, said_by: SaidBy, status: os.stat_result, now: float) -> FileHash:
    """The hash of a file that was just seen to have it."""
    return FileHash(
        sha256, said_by, status.st_size, status.st_mtime_ns, status.st_ino, verified_at=now
    )


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def hash_file(
    path: Path, cancel: threading.Event, on_bytes: Callable[[int], None] = lambda count: None
) -> str:
    """The SHA-256 of a file; `on_bytes` hears of every piece that was read.

    Cancelled when `cancel` is set, BadFileError where the file cannot be read.
    """
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                if cancel.is_set():
                    raise Cancelled(msg("stopped; nothing was changed"))
                hasher.update(buffer[:count])
                on_bytes(count)
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    return hasher.hexdigest()


def _file_hash(
    sha256: str,
    said_by: str,
    size: int | None,
    mtime_ns: int | None,
    inode: str | None,
    verified_at: float | None,
) -> FileHash:
    try:
        number = None if inode is None else int(inode)
        return FileHash(sha256, SaidBy(said_by), size, mtime_ns, number, verified_at)
    except ValueError:
        # From a later localq, or no one's: the hash counts, the rest is not to be relied on.
        return FileHash(sha256, SaidBy.RECORDED)
