"""A second name, a shared copy or a real copy of a file: how files are taken in."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from localq.errors import BadFileError, Cancelled, storage_errors
from localq.messages import msg

__all__ = ["copy_file", "hard_link", "reflink"]

_CHUNK = 4 << 20
_FICLONE = 0x40049409  # linux/fs.h


def hard_link(source: Path, target: Path) -> bool:
    """Make `target` a second name of the plain file `source`; False where that cannot be.

    Across disks, on filesystems without links, and on Linux for another user's files it cannot.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def reflink(source: Path, target: Path) -> bool:
    """Make `target` a file that shares the blocks of `source`; False where that cannot be.

    Btrfs, XFS, bcachefs, APFS and a few others can, within one filesystem.
    """
    if sys.platform == "darwin":
        return _clonefile(source, target)
    return _ficlone(source, target)


def _ficlone(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except FileExistsError:
        raise
    except OSError:
        with suppress(OSError):
            target.unlink()
        return False
    return True


def _clonefile(source: Path, target: Path) -> bool:
    import ctypes

    try:
        clonefile = ctypes.CDLL(None, use_errno=True).clonefile
    except (OSError, AttributeError):
        return False
    clonefile.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint32)
    clonefile.restype = ctypes.c_int
    return bool(clonefile(os.fsencode(source), os.fsencode(target), 0) == 0)


def copy_file(
    source: Path, target: Path, cancel: threading.Event, on_bytes: Callable[[int], None]
) -> str:
    """Copy `source`, going on after what `target` has of it already; the SHA-256 of the whole.

    `target` must be a name that only this content can have. `on_bytes` hears of every piece.
    Cancelled, with what was copied kept; BadFileError where the source changes meanwhile.
    """
    hasher = hashlib.sha256()
    with source.open("rb") as old, storage_errors(target):
        before = os.fstat(old.fileno())
        with target.open("a+b") as new:
            if new.tell() > before.st_size:
                new.truncate(0)
            new.seek(0)
            begun = _pour(new.read, before.st_size, hasher.update, cancel, on_bytes)
            old.seek(begun)

            def write(data: bytes) -> None:
                hasher.update(data)
                new.write(data)

            left = before.st_size - begun
            copied = begun + _pour(old.read, left, write, cancel, on_bytes)
        after = os.fstat(old.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or (
        copied != before.st_size
    ):
        target.unlink()
        raise BadFileError(source, msg("changed while it was copied"), hint=msg("try again"))
    return hasher.hexdigest()


def _pour(
    read: Callable[[int], bytes],
    count: int,
    write: Callable[[bytes], object],
    cancel: threading.Event,
    on_bytes: Callable[[int], None],
) -> int:
    """Bring over at most `count` bytes, for the file may grow meanwhile; how many there were."""
    done = 0
    while done < count and (data := read(min(_CHUNK, count - done))):
        if cancel.is_set():
            raise Cancelled(msg("stopped; what was copied is kept for the next time"))
        write(data)
        done += len(data)
        on_bytes(len(data))
    return done
