"""How fast a disk writes and reads, measured with a file of its own."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localq.errors import Cancelled, StorageError, storage_errors
from localq.hardware.profile import Disk
from localq.messages import msg
from localq.partials import partial_path, sweep_partials

__all__ = ["disk_space", "measure_disk"]

_BLOCK = 4 << 20
_SIZE = 256 << 20
_SECONDS = 5.0
"""For each direction: an SD card is measured with fewer bytes."""
_HINT = msg("the speed was not measured; everything else was")


def disk_space(folder: Path) -> Disk:
    """The disk that holds `folder`, or will once it is made."""
    there = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    try:
        usage = shutil.disk_usage(there)
    except OSError:
        return Disk(folder)
    return Disk(folder, usage.total, usage.free)


def measure_disk(
    folder: Path,
    *,
    cancel: threading.Event,
    on_progress: Callable[[int, int], None],
    size: int = _SIZE,
) -> Disk:
    """Write a file of at most `size` bytes to `folder`, read it, delete it; takes 10 s at most,
    and as long as the disk needs to finish what it was given.

    `on_progress` gets the bytes done and those of both directions. StorageError, Cancelled.
    """
    space = disk_space(folder)
    if space.free_bytes is not None and space.free_bytes < 2 * size:
        raise StorageError(
            msg("{folder}: there is no room to measure the disk", folder=folder), hint=_HINT
        )
    with storage_errors(folder, hint=_HINT):
        folder.mkdir(parents=True, exist_ok=True)
        sweep_partials(folder)
        path = partial_path(folder / "disk-speed")
        try:
            with path.open("xb", buffering=0) as file:
                written, write_speed = _write(file.fileno(), size, cancel, on_progress)
            read_speed = _read(path, written, size, cancel, on_progress)
        finally:
            path.unlink(missing_ok=True)
    return Disk(folder, space.total_bytes, space.free_bytes, write_speed, read_speed)


def _write(
    file: int, size: int, cancel: threading.Event, on_progress: Callable[[int, int], None]
) -> tuple[int, float]:
    block = os.urandom(_BLOCK)  # a file system that compresses gains nothing
    written = 0
    started = time.perf_counter()
    while written < size and time.perf_counter() - started < _SECONDS:
        _check(cancel)
        written += os.write(file, block[: size - written])
        on_progress(written, 2 * size)
    os.fsync(file)
    return written, written / (time.perf_counter() - started)


def _read(
    path: Path,
    written: int,
    size: int,
    cancel: threading.Event,
    on_progress: Callable[[int, int], None],
) -> float | None:
    """Bytes per second; None where the system's cache cannot be kept out of it."""
    with path.open("rb", buffering=0) as file:
        if not _past_cache(file.fileno()):
            return None
        done = 0
        started = time.perf_counter()
        while done < written and time.perf_counter() - started < _SECONDS:
            _check(cancel)
            if not (block := file.read(_BLOCK)):
                break
            done += len(block)
            on_progress(size + done, 2 * size)
        return done / (time.perf_counter() - started)


def _past_cache(file: int) -> bool:
    if sys.platform == "linux":
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return True
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(file, fcntl.F_NOCACHE, 1)
        return True
    return False


def _check(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled(msg("stopped; the file that measured the disk is deleted"))
