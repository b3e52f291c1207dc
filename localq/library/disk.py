"""How much of the disk files really take: holes, further hard links and shared extents."""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Inode", "disk_bytes", "freed_by_deleting", "inode_of", "parse_extents", "shared_bytes"]

Inode = tuple[int, int]
"""Device and number: equal for two names of one file."""

_SPARSE_FROM = 1 << 20  # below that, blocks say little: a file system may keep them elsewhere
_FIEMAP = 0xC020660B  # FS_IOC_FIEMAP, linux/fs.h
_HEADER = struct.Struct("=QQLLLL")  # struct fiemap, linux/fiemap.h
_EXTENT = struct.Struct("=QQQQQLLLL")
_EXTENT_LAST, _EXTENT_SHARED = 0x1, 0x2000
_EXTENTS_AT_ONCE = 512
_MAX_CALLS = 64


def disk_bytes(status: os.stat_result) -> int:
    """What a file takes, without its holes; links and compression are not looked at."""
    size = status.st_size
    blocks: int | None = getattr(status, "st_blocks", None)
    if blocks is None or size < _SPARSE_FROM:
        return size
    return min(size, blocks * 512)


def inode_of(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino


def freed_by_deleting(files: Iterable[Path]) -> int:
    """The bytes that the disk gets back when all of `files` go.

    A file with a hard link that stays gives none; nor do extents that another file shares (a
    reflink), where the system tells. Missing files and symbolic links count nothing.
    """
    links: defaultdict[Inode, list[Path]] = defaultdict(list)
    statuses: dict[Inode, os.stat_result] = {}
    for file in dict.fromkeys(files):
        try:
            status = file.lstat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            links[inode_of(status)].append(file)
            statuses[inode_of(status)] = status
    freed = 0
    for inode, status in statuses.items():
        if len(links[inode]) >= status.st_nlink:
            freed += max(0, disk_bytes(status) - shared_bytes(links[inode][0]))
    return freed


def shared_bytes(path: Path) -> int:
    """Bytes of a file that another one shares by reflink; 0 where that cannot be known."""
    if sys.platform != "linux":
        return 0
    import fcntl

    shared, start = 0, 0
    try:
        with path.open("rb") as file:
            for _ in range(_MAX_CALLS):
                head = _HEADER.pack(start, 2**64 - 1 - start, 0, 0, _EXTENTS_AT_ONCE, 0)
                answer = bytearray(head + bytes(_EXTENT.size * _EXTENTS_AT_ONCE))
                fcntl.ioctl(file, _FIEMAP, answer)
                found, start, last = parse_extents(bytes(answer))
                shared += found
                if last:
                    break
    except OSError:  # a file system that does not tell, or a file that may not be read
        return shared
    return shared


def parse_extents(answer: bytes) -> tuple[int, int, bool]:
    """Of what FIEMAP answered: bytes shared, where to go on, and whether that was all."""
    mapped = min(_HEADER.unpack_from(answer)[3], (len(answer) - _HEADER.size) // _EXTENT.size)
    shared, end, last = 0, 0, mapped == 0
    for number in range(mapped):
        fields = _EXTENT.unpack_from(answer, _HEADER.size + number * _EXTENT.size)
        logical, length, flags = fields[0], fields[2], fields[5]
        end = logical + length
        if flags & _EXTENT_SHARED:
            shared += length
        last = bool(flags & _EXTENT_LAST)
    return shared, end, last
