"""The pieces of work that a file is cut into: whole rows, about a million numbers each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from localq.formats.rows import FilePiece, Piece, byte_range
from localq.quantize.layout import FileLayout, PlacedTensor

__all__ = ["Block", "Span", "cut", "source_files"]

_BLOCK_ELEMENTS = 1 << 20


class Span(NamedTuple):
    """Bytes [start, end) of a file."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """Rows [first, first + rows) of a piece, and where they go in the file.

    `number` is the tensor's in the layout. All rows belong to the same expert, whose part of the
    importance matrix begins at `weights`.
    """

    number: int
    tensor: PlacedTensor
    piece: Piece
    first: int
    rows: int
    offset: int
    weights: int

    @property
    def elements(self) -> int:
        return self.rows * self.piece.columns

    @property
    def spans(self) -> tuple[Span, ...]:
        """The bytes that must be at hand: of the rows, and of the factors they go by."""
        piece = self.piece
        if not isinstance(piece, FilePiece):
            return ()
        rows = Span(piece.path, *byte_range(piece, self.first, self.rows))
        if piece.scales is None:
            return (rows,)
        first, end = piece.scales.rows_for(piece.touched_rows(self.first, self.rows))
        factors = piece.scales.source
        return rows, Span(factors.path, *byte_range(factors, first, end - first))


def cut(layout: FileLayout, without: Collection[int] = ()) -> Iterator[Block]:
    """The file in the order of its bytes, so that the disk is written front to back.

    Tensors whose number is in `without` are left out.
    """
    for number, tensor in enumerate(layout.tensors):
        if number in without:
            continue
        offset, row = tensor.offset, 0
        matrix_rows = tensor.source.shape[1] if len(tensor.source.shape) > 1 else 1
        for piece in tensor.source.pieces:
            row_bytes = tensor.type.row_bytes(piece.columns)
            step = max(1, _BLOCK_ELEMENTS // piece.columns)
            first = 0
            while first < piece.rows:
                rows = min(step, piece.rows - first)
                weights = 0
                if tensor.weights is not None:
                    rows = min(rows, matrix_rows - row % matrix_rows)
                    weights = row // matrix_rows * piece.columns
                yield Block(number, tensor, piece, first, rows, offset, weights)
                offset += rows * row_bytes
                first += rows
                row += rows


def source_files(layout: FileLayout) -> set[Path]:
    """The files that the tensors' rows lie in."""
    pieces = [piece for tensor in layout.tensors for piece in tensor.source.pieces]
    factors = [piece.scales.source for piece in pieces if piece.scales is not None]
    return {piece.path for piece in (*pieces, *factors) if isinstance(piece, FilePiece)}
