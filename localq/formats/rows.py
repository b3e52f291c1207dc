"""Where the rows of a tensor come from: places in mapped files, or numbers already at hand.

A tensor to be written is a stack of pieces: matrices whose rows may come in another order, be
only some of a file's, be its columns instead, or go through a function on the way. Nothing is
read until someone asks for rows, and then only those rows.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError
from localq.formats.types import TensorType

__all__ = [
    "ELEMENT_BYTES",
    "ArrayPiece",
    "BlockScales",
    "FilePiece",
    "MappedFiles",
    "Piece",
    "SourceType",
    "TensorSource",
    "Transform",
    "stored_row_bytes",
]

Rows = npt.NDArray[np.uint8]
SourceType = str
"""How stored rows are to be decoded: a key of ELEMENT_BYTES, or the name of a TensorType."""

ELEMENT_BYTES: Mapping[SourceType, int] = {
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}

Transform = Callable[[int, npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Of (number of the first row, rows as a float32 matrix): the rows to be written instead."""


def stored_row_bytes(dtype: SourceType, columns: int) -> int:
    """Bytes of a row of `columns` elements as it is stored."""
    if (element_bytes := ELEMENT_BYTES.get(dtype)) is not None:
        return columns * element_bytes
    return TensorType[dtype].row_bytes(columns)


@dataclass(frozen=True, slots=True, eq=False)
class BlockScales:
    """What 8-bit floats are multiplied by: one factor for each block of `rows` x `columns`.

    `source` is the matrix of factors. Where matrices of `height` rows are stacked, no block
    reaches from one into the next.
    """

    source: FilePiece
    rows: int
    columns: int
    height: int

    def blocks(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The row of factors that each of the matrix's `rows` goes by."""
        per_matrix = -(-self.height // self.rows)
        return rows // self.height * per_matrix + rows % self.height // self.rows


@dataclass(frozen=True, slots=True, eq=False)
class FilePiece:
    """Rows of a row-major matrix of `file_rows` x `file_columns` in a file.

    `order[i]` is the row of the file that comes i-th; it may leave rows out. `transposed` takes
    the matrix's columns for rows (before `order`). `transform` works on the decoded rows, after
    `scales`.
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

    def __post_init__(self) -> None:
        if self.scales is not None and self.transposed:
            raise BadFileError(self.path, "8-bit floats with factors cannot be transposed")

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
    whatever the file's type (norms, biases, router weights).
    """

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    always_f32: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def columns(self) -> int:
        return self.shape[0]

    @property
    def rows(self) -> int:
        return prod(self.shape[1:])

    @property
    def lossless(self) -> str:
        """The type of the tensor in llama.cpp's lossless file, as the name of a TensorType."""
        if self.always_f32:
            return "F32"
        dtype = self.pieces[0].dtype
        return "BF16" if dtype.startswith("F8") else dtype


@dataclass(slots=True)
class MappedFiles:
    """The files that pieces lie in, each mapped once and read only."""

    _maps: dict[Path, tuple[mmap.mmap, Rows]] = field(default_factory=dict)

    def __enter__(self) -> MappedFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
                    raise BadFileError(path, f"cannot be mapped: {error}") from error
                self._maps[path] = (mapped, np.frombuffer(mapped, np.uint8))

    def read(self, piece: Piece, first: int, count: int) -> Rows:
        """Rows [first, first + count) of the piece as contiguous bytes; no copy where it can."""
        if isinstance(piece, ArrayPiece):
            return np.ascontiguousarray(piece.values[first : first + count]).view(np.uint8).ravel()
        data = self._maps[piece.path][1]
        row_bytes = stored_row_bytes(piece.dtype, piece.file_columns)
        if piece.order is None and not piece.transposed:
            start = piece.offset + first * row_bytes
            return data[start : start + count * row_bytes]
        end = piece.offset + piece.file_rows * row_bytes
        wanted: slice | npt.NDArray[np.intp] = slice(first, first + count)
        if piece.order is not None:
            wanted = piece.order[wanted]
        if not piece.transposed:
            return data[piece.offset : end].reshape(piece.file_rows, row_bytes)[wanted].ravel()
        shape = (piece.file_rows, piece.file_columns, ELEMENT_BYTES[piece.dtype])
        cells = data[piece.offset : end].reshape(shape)
        return np.ascontiguousarray(cells[:, wanted].swapaxes(0, 1)).ravel()
