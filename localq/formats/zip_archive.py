"""Where the entries of a zip archive lie, for archives that store them as they are.

Layout: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory),
4.3.14 to 4.3.16 (end records). The standard library reads whatever size a directory claims, and
does not give the place of an entry's bytes in the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["StoredEntry", "read_stored_entries"]

_END, _END_BYTES = b"PK\x05\x06", 22
_END64, _END64_BYTES = b"PK\x06\x06", 56
_LOCATOR, _LOCATOR_BYTES = b"PK\x06\x07", 20
_CENTRAL, _CENTRAL_BYTES = b"PK\x01\x02", 46
_LOCAL, _LOCAL_BYTES = b"PK\x03\x04", 30
_LONGEST_COMMENT = 0xFFFF
_ELSEWHERE = 0xFFFFFFFF  # the true number stands in the zip64 field
_ZIP64_FIELD = 1
_MAX_DIRECTORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """`offset` counts from the start of the file."""

    offset: int
    nbytes: int


def read_stored_entries(path: Path) -> Mapping[str, StoredEntry]:
    """Every entry of the archive by its name.

    Raises BadFileError, with the byte offset, for what is no archive, is cut short, compressed or
    encrypted, or points outside the file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return dict(_entries(path, file, size))
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def _entries(path: Path, file: BinaryIO, size: int) -> Iterator[tuple[str, StoredEntry]]:
    start, length = _directory(path, file, size)
    if length > _MAX_DIRECTORY_BYTES or start + length > size:
        raise BadFileError(
            path, msg("its zip directory claims {length:,} bytes", length=length), offset=start
        )
    file.seek(start)
    directory = file.read(length)
    at = 0
    while at < length:
        head = directory[at : at + _CENTRAL_BYTES]
        if len(head) < _CENTRAL_BYTES or head[:4] != _CENTRAL:
            raise BadFileError(path, msg("its zip directory is damaged"), offset=start + at)
        name_bytes, extra_bytes, comment_bytes = (_int(head, i, 2) for i in (28, 30, 32))
        end = at + _CENTRAL_BYTES + name_bytes
        raw_name = directory[at + _CENTRAL_BYTES : end]
        extra = directory[end : end + extra_bytes]
        flags, method = _int(head, 8, 2), _int(head, 10, 2)
        nbytes, packed, local = _true_sizes(
            extra, _int(head, 24, 4), _int(head, 20, 4), _int(head, 42, 4)
        )
        if flags & 1 or method != 0 or packed != nbytes:
            raise BadFileError(
                path, msg("its entries are compressed or encrypted"), offset=start + at
            )
        name = raw_name.decode("utf-8", "replace")
        yield name, StoredEntry(_data_start(path, file, local, nbytes, size), nbytes)
        at = end + extra_bytes + comment_bytes


def _directory(path: Path, file: BinaryIO, size: int) -> tuple[int, int]:
    """The central directory's place and length."""
    tail_start = max(0, size - _LONGEST_COMMENT - _END_BYTES - _LOCATOR_BYTES)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_BYTES > len(tail):
        raise BadFileError(
            path,
            msg("not a zip archive, or one that is cut short"),
            offset=0,
            hint=msg("the download may be unfinished; pull it again"),
        )
    start, length = _int(tail, at + 16, 4), _int(tail, at + 12, 4)
    locator = tail[max(0, at - _LOCATOR_BYTES) : at]
    if locator[:4] == _LOCATOR and len(locator) == _LOCATOR_BYTES:
        place = _int(locator, 8, 8)
        file.seek(min(place, size))
        record = file.read(_END64_BYTES)
        if len(record) < _END64_BYTES or record[:4] != _END64:
            raise BadFileError(path, msg("its zip64 end record is damaged"), offset=place)
        start, length = _int(record, 48, 8), _int(record, 40, 8)
    return start, length


def _true_sizes(extra: bytes, *given: int) -> list[int]:
    """The sizes, each that does not fit four bytes from the zip64 field."""
    wide = b""
    while len(extra) >= 4:
        kind, length = _int(extra, 0, 2), _int(extra, 2, 2)
        if kind == _ZIP64_FIELD:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    sizes = []
    for number in given:
        if number == _ELSEWHERE and len(wide) >= 8:
            number, wide = _int(wide, 0, 8), wide[8:]
        sizes.append(number)
    return sizes


def _data_start(path: Path, file: BinaryIO, local: int, nbytes: int, size: int) -> int:
    file.seek(min(local, size))
    head = file.read(_LOCAL_BYTES)
    if len(head) < _LOCAL_BYTES or head[:4] != _LOCAL:
        raise BadFileError(path, msg("a zip entry is not where its directory says"), offset=local)
    start = local + _LOCAL_BYTES + _int(head, 26, 2) + _int(head, 28, 2)
    if start + nbytes > size:
        raise BadFileError(
            path,
            msg("a zip entry ends beyond the file"),
            offset=local,
            hint=msg("the download is damaged or unfinished; pull it again"),
        )
    return start


def _int(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
