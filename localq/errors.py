"""Every error localq raises on purpose, and the exit code each one ends the program with.

    LocalqError                 1   something asked for could not be done
    ├── UsageError              2   the request itself makes no sense (unknown type, bad name)
    ├── NotFoundError           1   no such model, file or revision
    ├── BadFileError            1   a file on disk is not what it claims to be
    ├── UnsupportedError        1   valid input that localq cannot handle (yet)
    ├── StorageError            1   the disk is full, or a folder cannot be written
    ├── LibraryError            1   the library refuses (not its file, name taken)
    ├── HubError                1   the Hub could not be reached or said no
    │   └── OfflineError        1   no network, or HF_HUB_OFFLINE is set
    ├── EngineError             1   the model could not be loaded, or its process died
    │   ├── EngineCrashed       1   its process died by itself
    │   └── EngineClosed        1   its process was ended while it worked
    └── Cancelled             130   the user asked to stop

An error is raised where it is known and printed in one place (`localq.cli.output`): its message
is one line that says what is wrong and names the file, its `hint` is what to do next.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localq.messages import msg

__all__ = [
    "BadFileError",
    "Cancelled",
    "EngineClosed",
    "EngineCrashed",
    "EngineError",
    "HubError",
    "LibraryError",
    "LocalqError",
    "NotFoundError",
    "OfflineError",
    "StorageError",
    "UnsupportedError",
    "UsageError",
    "storage_errors",
]


class LocalqError(Exception):
    """Base of all errors that localq raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LocalqError):
    exit_code = 2


class NotFoundError(LocalqError):
    pass


class BadFileError(LocalqError):
    """A file is damaged or lies about itself.

    `offset` is the byte in the file where reading stopped making sense, where that is known.
    """

    def __init__(
        self, path: Path | str, problem: str, *, offset: int | None = None, hint: str | None = None
    ) -> None:
        where = f"{path}: " if offset is None else f"{path} (byte {offset}): "
        super().__init__(where + problem, hint)
        self.path = Path(path)
        self.offset = offset


class UnsupportedError(LocalqError):
    pass


class StorageError(LocalqError):
    pass


class LibraryError(LocalqError):
    pass


class HubError(LocalqError):
    pass


class OfflineError(HubError):
    pass


class EngineError(LocalqError):
    pass


class EngineCrashed(EngineError):
    pass


class EngineClosed(EngineError):
    pass


class Cancelled(LocalqError):
    exit_code = 130

    def __init__(self, message: str = "stopped; nothing half-made was left") -> None:
        super().__init__(message)


@contextmanager
def storage_errors(path: Path, hint: str = "choose another place with -o") -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                msg("{path}: the disk is full", path=path),
                hint=msg("free some space (localq trash empty), then run the same command again"),
            ) from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(
            msg("{path}: cannot be written: {reason}", path=path, reason=reason), hint=hint
        ) from error
