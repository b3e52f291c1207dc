"""A lock between processes that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localq.errors import Cancelled, storage_errors

__all__ = ["locked"]

_RETRY_SECONDS = 0.2


@contextmanager
def locked(path: Path, cancel: threading.Event, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`. `on_wait` is called once if another process has it."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        waited = False
        while not _take(descriptor):
            if not waited:
                on_wait()
                waited = True
            if cancel.wait(_RETRY_SECONDS):
                raise Cancelled
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
