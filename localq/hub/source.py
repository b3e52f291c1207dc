"""Where files can be fetched from, whatever kind of place it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from localq.errors import HubError
from localq.messages import msg

__all__ = [
    "AGAIN",
    "CONTINUES",
    "Damaged",
    "Digest",
    "DigestKind",
    "Hasher",
    "TransferInterrupted",
    "RemoteFile",
    "Source",
    "Stream",
]


class Hasher(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class DigestKind(Enum):
    """How a file's content is named."""

    SHA256 = "sha256"
    """Of the content itself: large files (Git LFS)."""
    GIT_BLOB = "git blob id"
    """SHA-1 of "blob <size>" NUL content: files that Git keeps itself."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The name of one content, in lower-case hexadecimal."""

    kind: DigestKind
    hex: str

    def hasher(self, size: int) -> Hasher:
        """A fresh computation of this kind of digest over `size` bytes to come."""
        if self.kind is DigestKind.SHA256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a source. `path` is what the source says: not to be trusted as a file name."""

    path: str
    size: int
    digest: Digest


def _nothing() -> None:
    """The abort of a stream that needs none."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes of a file from the offset `start` on, which may be less than what was asked for.

    Another thread may call `abort` to end a wait for the next chunk with Interrupted; a stream
    that never waits long has none.
    """

    start: int
    chunks: Iterator[bytes]
    abort: Callable[[], None] = _nothing


class Source(Protocol):
    """One state of a place that has files. What is read cannot change under the reader."""

    @property
    def repo(self) -> str:
        """What the source is called, as OWNER/NAME."""

    @property
    def revision(self) -> str:
        """Which state: the commit on the Hub."""

    @property
    def files(self) -> Sequence[RemoteFile]: ...

    def open(
        self, file: RemoteFile, offset: int, end: int | None = None
    ) -> AbstractContextManager[Stream]:
        """Read `file` from `offset` bytes on; what comes after `end` is not wanted, but may come.

        Now or while the chunks are read, raises Interrupted or OfflineError where trying again
        may help, Damaged where the file is not as long as promised; other errors are final.
        """


AGAIN = msg("run the same command again")
CONTINUES = msg("run the same command again: it continues where it was")
"""A hint for whoever knows that something was kept."""


class TransferInterrupted(HubError):
    """A transfer that did not come to its end; trying again may help.

    `retry_after` is how many seconds the server asked to wait, where it did.
    """

    def __init__(
        self, message: str, hint: str | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint or AGAIN)
        self.retry_after = retry_after


class Damaged(HubError):
    """What arrived is not the content that was promised."""
