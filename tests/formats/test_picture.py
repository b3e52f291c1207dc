"""What a picture is, told from its first bytes."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.formats.picture import MAX_PICTURE, PictureSize, picture_size
from tests.projectors import png

JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    b"\xff\xc4\x00\x04\0\0\xff\xff\xc2\x00\x0b\x08" + struct.pack(">HH", 30, 70) + b"\x01\x11\0"
)
GIF = b"GIF89a" + struct.pack("<HH", 70, 30) + bytes(3)
BMP = b"BM" + bytes(12) + struct.pack("<Iii", 40, 70, -30) + bytes(30)
OLD_BMP = b"BM" + bytes(12) + struct.pack("<IHH", 12, 70, 30)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(png(70, 30), "PNG"), (JPEG, "JPEG"), (GIF, "GIF"), (BMP, "BMP"), (OLD_BMP, "BMP")],
)
def test_kinds(data: bytes, kind: str) -> None:
    assert picture_size(data, "x") == PictureSize(kind, 70, 30)
    for end in range(2, min(len(data), 40)):
        with suppress(BadFileError, UnsupportedError):
            assert picture_size(data[:end], "x") == PictureSize(kind, 70, 30)


@pytest.mark.parametrize(
    "data", [b"", b"RIFF\0\0\0\0WEBP", b"%PDF", b"\xff\xd8\xff\xda" + bytes(9)]
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(UnsupportedError, match="no picture that can be read"):
        picture_size(data, "x")


def test_what_is_too_large_or_empty() -> None:
    with pytest.raises(BadFileError, match="more than 20 MB"):
        picture_size(bytes(MAX_PICTURE + 1), "x")
    with pytest.raises(BadFileError, match="30000 x 30000 pixels"):
        picture_size(png()[:16] + struct.pack(">II", 30_000, 30_000) + png()[24:], "x")
    with pytest.raises(BadFileError, match="without pixels"):
        picture_size(GIF[:6] + bytes(7), "x")


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM"]), st.binary())
def test_whatever_there_is(start: bytes, rest: bytes) -> None:
    with suppress(LocalqError):
        found = picture_size(start + rest, "x")
        assert found.width > 0 < found.height
