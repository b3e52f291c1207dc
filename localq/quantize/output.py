"""The file being written: of known size, at any offset, by any thread."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["OutputFile"]


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux's sync_file_range(2), which Python's os module lacks."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range = _find_sync_file_range()
_SYNC_FILE_RANGE_WRITE = 2


class OutputFile:
    """A context manager; what was at `path` before stays where nothing is written over it."""

    def __init__(self, path: Path, size: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        self._lock = threading.Lock()
        # The gaps between tensors are then zeros without being written.
        os.ftruncate(self._descriptor, size)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def begin_flush(self) -> None:
        """Let the disk begin on what was written, so that the last flush has little left to do."""
        if _sync_file_range is not None:
            _sync_file_range(self._descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def flush(self) -> None:
        """Return when all that was written is on the disk."""
        os.fsync(self._descriptor)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        if not hasattr(os, "pwrite"):
            with self._lock:  # Windows writes only at the file's position
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            return
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view, offset = view[count:], offset + count
