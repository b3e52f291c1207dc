"""Where the rows of a tensor come from: places in mapped files, or numbers already at hand.

A tensor to be written is a stack of pieces, each a matrix whose rows may come in another order.
Nothing is read until someone asks for rows, and then only those rows.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError

__all__ = ["ArrayPiece", "FilePiece", "MappedFiles", "Piece", "SourceType", "TensorSource"]

Rows = npt.NDArray[np.uint8]
SourceType = str
"""A safetensors dtype name: "F32", "F16" or "BF16"."""


@dataclass(frozen=True, slots=True, eq=False)
class FilePiece:
    """A row-major matrix in a file; `order[i]` is the row of the file that comes i-th."""

    path: Path
    offset: int
    dtype: SourceType
    rows: int
    row_bytes: int
    order: npt.NDArray[np.intp] | None = None


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
    def row_bytes(self) -> int:
        return int(self.values.shape[1]) * 4


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
    def dtype(self) -> SourceType:
        return self.pieces[0].dtype


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
        if piece.order is None:
            start = piece.offset + first * piece.row_bytes
            return data[start : start + count * piece.row_bytes]
        end = piece.offset + piece.rows * piece.row_bytes
        matrix = data[piece.offset : end].reshape(piece.rows, piece.row_bytes)
        return matrix[piece.order[first : first + count]].ravel()
