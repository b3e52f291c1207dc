"""A GGUF file told in a few kilobytes, so that two files can be compared without keeping both.

The reader here shares nothing with localq's own: a mistake in one cannot hide in the other.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["GgufSummary", "Metadata", "TensorRow", "summarize"]

Metadata: TypeAlias = list[list[Any]]
"""[key, type, value] in file order.

The type is the GGUF name, for arrays with the element type: "ARRAY[STRING]". Floats are written
as the hexadecimal digits of their bits ("0x3727c5ac"), so that equal means equal. A string of
more than 200 characters becomes {"sha256", "length"} of its UTF-8 bytes. An array of more than 16
items becomes {"sha256", "length"}: length counts the items, and the hash is over the items as
GGUF stores them, one after the other without the array's own head: numbers little-endian,
booleans one byte, strings a little-endian 64-bit byte length and then UTF-8.
"""

TensorRow: TypeAlias = list[Any]
"""[name, ggml type, shape with the fastest dimension first, SHA-256 of the data bytes]."""

_LONG_STRING = 200
_LONG_ARRAY = 16

_SCALARS = {
    0: ("UINT8", "B"),
    1: ("INT8", "b"),
    2: ("UINT16", "H"),
    3: ("INT16", "h"),
    4: ("UINT32", "I"),
    5: ("INT32", "i"),
    6: ("FLOAT32", "f"),
    7: ("BOOL", "?"),
    10: ("UINT64", "Q"),
    11: ("INT64", "q"),
    12: ("FLOAT64", "d"),
}
_STRING, _ARRAY = 8, 9

# ggml id: name, elements per block, bytes per block
_TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}


@dataclass(frozen=True)
class GgufSummary:
    """One GGUF file: SHA-256 and size in bytes of the whole, its metadata and its tensors."""

    sha256: str
    size: int
    metadata: Metadata
    tensors: list[TensorRow]

    def in_full(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "sha256": self.sha256,
            "size": self.size,
            "metadata": self.metadata,
            "tensors": self.tensors,
        }

    def in_brief(self) -> dict[str, Any]:
        """Hash, size, how many tensors have each type, and a hash of the types in file order.

        The latter is over UTF-8 lines "name TYPE", each ended by a line feed.
        """
        lines = "".join(f"{name} {kind}\n" for name, kind, _, _ in self.tensors)
        return {
            "sha256": self.sha256,
            "size": self.size,
            "tensor_types": dict(sorted(Counter(row[1] for row in self.tensors).items())),
            "tensor_types_sha256": sha256(lines.encode()).hexdigest(),
        }

    def hashes(self) -> dict[str, Any]:
        """Hash and size of the file, and a hash of the tensors alone: name, type, shape, data."""
        return {"sha256": self.sha256, "size": self.size, "tensors_sha256": self.tensors_sha256}

    @property
    def tensors_sha256(self) -> str:
        """Over UTF-8 lines "name TYPE [shape] digest", each ended by a line feed."""
        lines = "".join(
            f"{name} {kind} {shape} {data}\n" for name, kind, shape, data in self.tensors
        )
        return sha256(lines.encode()).hexdigest()


def summarize(path: Path) -> GgufSummary:
    """Read a little-endian GGUF v3 file.

    Raises ValueError for anything else, KeyError for a tensor type this module does not know.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        cursor = _Cursor(view)
        magic, version, tensor_count, pair_count = cursor.unpack("4sIQQ")
        if (magic, version) != (b"GGUF", 3):
            raise ValueError(f"{path}: not a GGUF v3 file")
        metadata = [_pair(cursor) for _ in range(pair_count)]
        infos = [_tensor_info(cursor) for _ in range(tensor_count)]
        alignment = next((value for key, _, value in metadata if key == "general.alignment"), 32)
        base = cursor.position + -cursor.position % alignment
        tensors = [
            [name, kind, shape, _digest(view[base + offset : base + offset + size])]
            for name, kind, shape, offset, size in infos
        ]
        return GgufSummary(_digest(view), len(view), metadata, tensors)


class _Cursor:
    """A position in a file that moves on as values are read."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view = view
        self.position = 0

    def unpack(self, codes: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + codes, self.view, self.position)
        self.position += struct.calcsize("<" + codes)
        return values

    def string(self) -> bytes:
        (length,) = self.unpack("Q")
        start = self.position
        self.position += length
        return self.view[start : self.position]


def _pair(cursor: _Cursor) -> list[Any]:
    key = cursor.string().decode()
    (kind,) = cursor.unpack("I")
    if kind != _ARRAY:
        return [key, _type_name(kind), _value(cursor, kind)]
    item_kind, count = cursor.unpack("IQ")
    start = cursor.position
    items: Any = [_value(cursor, item_kind) for _ in range(count)]
    if count > _LONG_ARRAY:
        items = {"sha256": _digest(cursor.view[start : cursor.position]), "length": count}
    return [key, f"ARRAY[{_type_name(item_kind)}]", items]


def _type_name(kind: int) -> str:
    return "STRING" if kind == _STRING else _SCALARS[kind][0]


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind == _STRING:
        raw = cursor.string()
        text = raw.decode()
        is_long = len(text) > _LONG_STRING
        return {"sha256": _digest(raw), "length": len(raw)} if is_long else text
    name, code = _SCALARS[kind]
    (value,) = cursor.unpack({"f": "I", "d": "Q"}.get(code, code))
    if name.startswith("FLOAT"):
        return f"{value:#0{2 + struct.calcsize(code) * 2}x}"
    return value


def _tensor_info(cursor: _Cursor) -> tuple[str, str, list[int], int, int]:
    """Name, type, shape, offset and size in bytes."""
    name = cursor.string().decode()
    (dimensions,) = cursor.unpack("I")
    shape = list(cursor.unpack(f"{dimensions}Q"))
    kind, offset = cursor.unpack("IQ")
    type_name, block_elements, block_bytes = _TENSOR_TYPES[kind]
    elements = 1
    for length in shape:
        elements *= length
    return name, type_name, shape, offset, elements // block_elements * block_bytes


def _digest(data: bytes | mmap.mmap) -> str:
    return sha256(data).hexdigest()
