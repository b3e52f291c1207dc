"""Pictures as files: what one is and how large, told from its first bytes, before it is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from localq.errors import BadFileError, NotFoundError, UnsupportedError
from localq.messages import msg

__all__ = ["MAX_PICTURE", "MAX_PIXELS", "MAX_TOTAL", "PictureSize", "picture_size", "read_picture"]

MAX_PICTURE = 20_000_000
"""Bytes of one."""
MAX_TOTAL = 40_000_000
"""Bytes of all that a prompt has."""
MAX_PIXELS = 50_000_000
"""A decoded picture takes three bytes for each."""

_PNG = b"\x89PNG\r\n\x1a\n"
_NOT_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
"""JPEG markers between SOF0 and SOF15 that begin no frame: DHT, JPG, DAC."""
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class PictureSize:
    """`kind` is PNG, JPEG, GIF or BMP."""

    kind: str
    width: int
    height: int


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file that was looked at. NotFoundError, BadFileError,
    UnsupportedError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PICTURE + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    picture_size(data, path)
    return data


def picture_size(data: bytes, name: Path | str) -> PictureSize:
    """What a picture is; `name` is what errors call it.

    UnsupportedError: another kind of file; BadFileError: too large, or cut off in its header.
    """
    if len(data) > MAX_PICTURE:
        raise BadFileError(
            name,
            msg("a picture of more than {most} MB", most=MAX_PICTURE // 10**6),
            hint=msg("make it smaller; models look at little more than 1,000 pixels a side"),
        )
    try:
        found = _look(data)
    except (struct.error, IndexError):
        raise BadFileError(name, msg("a picture that is cut off")) from None
    if found is None:
        raise UnsupportedError(
            msg("{name}: no picture that can be read", name=name),
            hint=msg("PNG, JPEG, GIF and BMP can; convert it to one of them"),
        )
    if found.width < 1 or found.height < 1:
        raise BadFileError(name, msg("a picture without pixels"))
    if found.width * found.height > MAX_PIXELS:
        raise BadFileError(
            name,
            msg(
                "a picture of {width} x {height} pixels, more than the {most} million allowed",
                width=found.width,
                height=found.height,
                most=MAX_PIXELS // 10**6,
            ),
            hint=msg("make it smaller; models look at little more than 1,000 pixels a side"),
        )
    return found


def _look(data: bytes) -> PictureSize | None:
    """struct.error, IndexError where it ends too early."""
    if data.startswith(_PNG):
        if data[12:16] != b"IHDR":
            return None
        return PictureSize("PNG", *struct.unpack_from(">II", data, 16))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return PictureSize("GIF", *struct.unpack_from("<HH", data, 6))
    if data.startswith(b"BM"):
        return _bmp(data)
    return None


def _jpeg(data: bytes) -> PictureSize | None:
    """The first frame's size. Segments lie one behind the other up to it."""
    at = 2
    while True:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return PictureSize("JPEG", width, height)
        if marker in (0xD9, 0xDA):  # the end, or pixels, before any frame
            return None
        at += 2 if marker in _STANDALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]


def _bmp(data: bytes) -> PictureSize | None:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        return PictureSize("BMP", *struct.unpack_from("<HH", data, 18))
    if header < 40:
        return None
    width, height = struct.unpack_from("<ii", data, 18)
    return PictureSize("BMP", width, abs(height))  # negative: its rows go from top to bottom
