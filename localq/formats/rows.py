"""Where the rows of a tensor come from: places in files, or numbers already at hand.

A tensor to be written is a stack of pieces: matrices whose rows may come in another order, be
only some of a file's, be its columns instead, or go through a function on the way. Nothing is
read until someone asks for rows, and then only the bytes that hold them; the files' bytes may be
mapped, or be those of a file that is still arriving.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = [
    "ELEMENT_BYTES",
    "PAIRED_MXFP4",
    "ArrayPiece",
    "BlockScales",
    "FileBytes",
    "FilePiece",
    "MappedFiles",
    "Piece",
    "SourceType",
    "TensorSource",
    "Transform",
    "byte_range",
    "read_rows",
    "stored_row_bytes",
]

Rows = npt.NDArray[np.uint8]
SourceType = str
"""How stored rows are to be decoded: a key of ELEMENT_BYTES, or the name of a TensorType."""

ELEMENT_BYTES: Mapping[SourceType, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "E8M0": 1,
}
PAIRED_MXFP4 = "MXFP4_PAIRS"
"""MXFP4 as checkpoints have it: neighbours in one byte, and the blocks' factors in a tensor of
their own. GGUF's MXFP4 has each factor before its block, whose halves share the bytes."""

Transform = Callable[[int, npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Of (number of the first row, rows as a float32 matrix): the rows to be written instead."""


def stored_row_bytes(dtype: SourceType, columns: int) -> int:
    """Bytes of a row of `columns` elements as it is stored."""
    if dtype == PAIRED_MXFP4:
        return columns // 2
    if (element_bytes := ELEMENT_BYTES.get(dtype)) is not None:
        return columns * element_bytes
    return TensorType[dtype].row_bytes(columns)


@dataclass(frozen=True, slots=True, eq=False)
class BlockScales:
    """What 8-bit floats are multiplied by: one factor for each block of `rows` x `columns`.

    `source` is the matrix of factors. Where matrices of `height` rows are stacked, no block
    reaches from one into the next. Of a part of a matrix `start` is the row it begins with.
    """

    source: FilePiece
    rows: int
    columns: int
    height: int
    start: int = 0

    def blocks(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The row of factors that each of the matrix's `rows` goes by."""
        per_matrix = -(-self.height // self.rows)
        rows = rows + self.start
        return rows // self.height * per_matrix + rows % self.height // self.rows

    def rows_for(self, rows: npt.NDArray[np.intp]) -> tuple[int, int]:
        """The rows [first, end) of factors that the matrix's `rows` go by."""
        blocks = self.blocks(rows)
        return int(blocks.min()), int(blocks.max()) + 1


@dataclass(frozen=True, slots=True, eq=False)
class FilePiece:
    """Rows of a row-major matrix of `file_rows` x `file_columns` in a file.

    `order[i]` is the row of the file that comes i-th; it may leave rows out. `transposed` takes
    the matrix's columns for rows (before `order`). `transform` works on the decoded rows, after
    `scales`. `name` is what the file calls the matrix.
    """

    path: Path
    offset: int
    dtype: SourceType
    file_rows: int
    file_columns: int
    order: npt.NDArray[np.intp] | None = None
    transposed: bool = False
    transform: Transform | None = None
    scales: BlockScales | None = None
    name: str = ""

    def part(self, first: int, count: int) -> FilePiece:
        """Rows [first, first + count) of the file's, as a matrix of their own."""
        row_bytes = stored_row_bytes(self.dtype, self.file_columns)
        scales = self.scales and replace(self.scales, start=self.scales.start + first)
        offset = self.offset + first * row_bytes
        return replace(self, offset=offset, file_rows=count, scales=scales)

    def touched_rows(self, first: int, count: int) -> npt.NDArray[np.intp]:
        """The rows of the file that rows [first, first + count) of the piece lie in."""
        if self.transposed:
            return np.arange(self.file_rows, dtype=np.intp)
        return self.file_rows_of(first, count)

    def file_rows_of(self, first: int, count: int) -> npt.NDArray[np.intp]:
        """Which rows of the file rows [first, first + count) of the piece are."""
        if self.order is not None:
            return self.order[first : first + count]
        return np.arange(first, first + count, dtype=np.intp)

    @property
    def rows(self) -> int:
        if self.order is not None:
            return len(self.order)
        return self.file_columns if self.transposed else self.file_rows

    @property
    def columns(self) -> int:
        return self.file_rows if self.transposed else self.file_columns


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPiece:
    """A float32 matrix that was computed."""

    values: npt.NDArray[np.float32]

    @property
    def dtype(self) -> SourceType:
        return "F32"

    @property
    def rows(self) -> int:
        return int(self.values.shape[0])

    @property
    def columns(self) -> int:
        return int(self.values.shape[1])

    @property
    def transform(self) -> None:
        return None

    @property
    def scales(self) -> None:
        return None


Piece = FilePiece | ArrayPiece


@dataclass(frozen=True, slots=True, eq=False)
class TensorSource:
    """A tensor to be written, and where its rows come from.

    `shape` has the fastest dimension first, as ggml does: (columns, rows, experts). The pieces'
    rows, one after another, are the tensor's. `always_f32` marks what llama.cpp keeps in float32
    whatever the file's type (norms, biases, router weights). `types` says of files that are not
    quantized in which the tensor has another type than the file.
    """

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    always_f32: bool = False
    types: Mapping[QuantType, TensorType] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def columns(self) -> int:
        return self.shape[0]

    def converted(self, quant: QuantType) -> TensorType:
        """Its type in the file of type `quant` that a converter writes."""
        return TensorType.F32 if self.always_f32 else self.types.get(quant, quant.default)

    @property
    def rows(self) -> int:
        return prod(self.shape[1:])

    @property
    def lossless(self) -> str:
        """The type of the tensor in llama.cpp's lossless file, as the name of a TensorType."""
        if self.always_f32:
            return "F32"
        dtype = self.pieces[0].dtype
        if dtype == "F64":
            return "F32"
        if dtype == PAIRED_MXFP4:
            return "MXFP4"
        return "BF16" if dtype.startswith("F8") else dtype


class FileBytes(Protocol):
    """Files whose bytes are at hand."""

    def view(self, path: Path, start: int, end: int) -> Rows:
        """Bytes [start, end) of the file, without a copy."""


def byte_range(piece: FilePiece, first: int, count: int) -> tuple[int, int]:
    """The bytes [start, end) of the file that hold rows [first, first + count) of the piece."""
    row_bytes = stored_row_bytes(piece.dtype, piece.file_columns)
    if piece.transposed:
        lowest, end = 0, piece.file_rows
    elif piece.order is not None:
        wanted = piece.order[first : first + count]
        lowest, end = int(wanted.min()), int(wanted.max()) + 1
    else:
        lowest, end = first, first + count
    return piece.offset + lowest * row_bytes, piece.offset + end * row_bytes


def read_rows(files: FileBytes, piece: Piece, first: int, count: int) -> Rows:
    """Rows [first, first + count) of the piece as contiguous bytes; no copy where it can."""
    if isinstance(piece, ArrayPiece):
        return np.ascontiguousarray(piece.values[first : first + count]).view(np.uint8).ravel()
    start, end = byte_range(piece, first, count)
    data = files.view(piece.path, start, end)
    wanted: slice | npt.NDArray[np.intp] = slice(first, first + count)
    if piece.order is not None:
        wanted = piece.order[wanted]
    if piece.transposed:
        shape = (piece.file_rows, piece.file_columns, ELEMENT_BYTES[piece.dtype])
        return np.ascontiguousarray(data.reshape(shape)[:, wanted].swapaxes(0, 1)).ravel()
    if isinstance(wanted, slice):
        return data
    row_bytes = stored_row_bytes(piece.dtype, piece.file_columns)
    lowest = (start - piece.offset) // row_bytes
    return data.reshape(-1, row_bytes)[wanted - lowest].ravel()


@dataclass(slots=True)
class MappedFiles:
    """The files that pieces lie in, each mapped once and read only."""

    _maps: dict[Path, tuple[mmap.mmap, Rows]] = field(default_factory=dict)

    def __enter__(self) -> MappedFiles:
        return self

    def __exit__(self, *_: object) -> None:
        # The mappings close with their last view; closing them under a view would be refused.
        self._maps.clear()

    def open(self, paths: Sequence[Path]) -> None:
        """Map the files now, so that worker threads only read the table."""
        for path in paths:
            if path not in self._maps:
                try:
                    with path.open("rb") as file:
                        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except (OSError, ValueError) as error:
                    raise BadFileError(
                        path, msg("cannot be mapped: {error}", error=error)
                    ) from error
                self._maps[path] = (mapped, np.frombuffer(mapped, np.uint8))

    def view(self, path: Path, start: int, end: int) -> Rows:
        return self._maps[path][1][start:end]
