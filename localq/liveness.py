"""Whether the process behind a record lives: it holds a lock of the operating system.

The system lets go of the lock with the process, however that ends, so a kill, a reboot or another
process with the same number cannot be taken for the one that wrote the record.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import StorageError, storage_errors
from localq.messages import msg

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["LivenessLock", "is_held"]

_LOOKS = 4
_SECONDS_BETWEEN_LOOKS = 0.005


class LivenessLock:
    """Held by the one process that the lock file `path` stands for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: BaseFileLock | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody has it. StorageError where its file cannot be made."""
        from filelock import FileLock, Timeout

        with storage_errors(self._path, hint=msg("let LOCALQ_HOME name another folder")):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._path, thread_local=False)  # any thread may release it
            for look in range(_LOOKS):
                if look:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)  # a reader holds it while it looks
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    continue
                if not self._path.exists():  # its last owner deleted it while this one came
                    lock.release()
                    continue
                self._lock = lock
                return True
        return False

    def release(self) -> None:
        """Let go, and leave no file behind where the system permits that."""
        if self._lock is None:
            return
        with suppress(OSError):  # Windows deletes no open file: it goes with the job's record
            self._path.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path`; makes nothing."""
    if not path.exists():
        return False
    lock = LivenessLock(path)
    try:
        if not lock.acquire():
            return True
    except StorageError:
        return True  # not to be seen from here, as in a home that may only be read
    lock.release()  # left behind by a process that was killed: the file goes too
    return False
