"""One block from its stored bytes to those of the output: decode, scale, transform, encode."""

from __future__ import annotations

import numpy as np

from localq.errors import BadFileError
from localq.formats.rows import (
    PAIRED_MXFP4,
    FileBytes,
    FilePiece,
    SourceType,
    read_rows,
    stored_row_bytes,
)
from localq.formats.types import TensorType
from localq.messages import msg
from localq.quantize.blocks import Block
from localq.quantize.codecs.fast import load_fast_codecs
from localq.quantize.codecs.lattices import LATTICES
from localq.quantize.finite import row_not_finite
from localq.quantize.layout import FileLayout
from localq.quantize.native import Bytes, Floats, load_codecs

__all__ = ["Buffers", "Encoder"]

_FATAL = 1e9
"""Among numbers of this size ggml's search of a lattice (IQ2, IQ3) may find no distance small
enough, and then it ends the process. No scale of theirs would fit into the type either."""


class Buffers:
    """One thread's room for a block, kept from one block to the next."""

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)
        self._encoded = np.empty(0, np.uint8)

    def floats(self, elements: int) -> Floats:
        """Room for decoded numbers; where encoding is fused with decoding, nobody asks."""
        if self._floats.size < elements:
            self._floats = np.empty(elements, np.float32)
        return self._floats

    def encoded(self, size: int) -> Bytes:
        """Room for the block as it is written."""
        if self._encoded.size < size:
            self._encoded = np.empty(size, np.uint8)
        return self._encoded


class Encoder:
    """Turns the blocks of `layout` into the bytes to be written; any thread may ask.

    EngineError where the engine's codecs cannot be loaded.
    """

    def __init__(self, layout: FileLayout, files: FileBytes) -> None:
        self._files = files
        self._codecs = load_codecs()
        self._fast = load_fast_codecs()
        for type_, weighed in {(t.type, t.weights is not None) for t in layout.tensors}:
            self._codecs.prepare(type_)
            self._fast.prepare(type_, weighed=weighed)

    def encode(self, block: Block, buffers: Buffers) -> memoryview:
        """The block's bytes, good until `buffers` are used again.

        BadFileError where the numbers are NaN or infinite, or become so in the type: no codec says
        so itself, and some end the process.
        """
        piece, type_, columns = block.piece, block.tensor.type, block.piece.columns
        rows = read_rows(self._files, piece, block.first, block.rows)
        dtype, scaled = piece.dtype, piece.scales is not None
        if dtype == PAIRED_MXFP4:
            rows, dtype, scaled = self._as_mxfp4(block, rows), "MXFP4", False
        if dtype == type_.name and piece.transform is None:
            _require_finite(block, dtype, rows)
            return rows.data
        stored = rows
        if scaled or piece.transform is not None:
            _require_finite(block, dtype, rows)
            dtype, stored = "F32", self._computed(block, rows, buffers).view(np.uint8)
        weights = block.tensor.weights
        if weights is not None:
            weights = weights[block.weights : block.weights + columns]
        encoded = buffers.encoded(block.rows * type_.row_bytes(columns))
        data = self._fast.encode(type_, dtype, stored, encoded, columns, weights)
        if data is not None:
            return data.data
        _require_finite(block, dtype, stored)
        numbers = self._codecs.decode(dtype, stored, buffers.floats(block.elements))
        if type_ in LATTICES:
            _require_below(_FATAL, block, numbers)
        data = self._codecs.encode(type_, numbers, encoded, columns, weights)
        if type_ is not TensorType.F32:
            _require_finite(block, type_.name, data, made=True)
        return data.data

    def _computed(self, block: Block, rows: Bytes, buffers: Buffers) -> Floats:
        """The numbers that are not in the file as such: scaled, transformed, or both."""
        piece, type_, columns = block.piece, block.tensor.type, block.piece.columns
        numbers = self._codecs.decode(piece.dtype, rows, buffers.floats(block.elements))
        if piece.scales is not None:
            numbers = self._scaled(block, piece, numbers.reshape(block.rows, columns))
        if piece.transform is not None:
            matrix = piece.transform(block.first, numbers.reshape(block.rows, columns))
            numbers = np.ascontiguousarray(matrix, np.float32).ravel()
        if type_.is_quantized:
            numbers = self._as_stored(block.tensor.source.lossless, numbers, columns)
        _require_finite(block, "F32", numbers.view(np.uint8), made=True)
        return numbers

    def _as_mxfp4(self, block: Block, rows: Bytes) -> Bytes:
        """Pairs of neighbours and factors apart from them, as GGUF's blocks."""
        piece = block.piece
        assert isinstance(piece, FilePiece)
        assert piece.scales is not None
        scales = piece.scales
        wanted = piece.file_rows_of(block.first, block.rows)
        first, end = scales.rows_for(wanted)
        stored = read_rows(self._files, scales.source, first, end - first)
        factors = stored.reshape(end - first, -1)[scales.blocks(wanted) - first]
        # Bytes hold neighbours (0, 1), (2, 3), ...; they are to hold (0, 16), (1, 17), ...
        pairs = rows.reshape(-1, 16)
        numbers = np.empty((len(pairs), 32), np.uint8)
        numbers[:, ::2], numbers[:, 1::2] = pairs & 15, pairs >> 4
        blocks = np.empty((len(pairs), 17), np.uint8)
        blocks[:, 0] = factors.ravel()
        blocks[:, 1:] = numbers[:, :16] | numbers[:, 16:] << 4
        return blocks.ravel()

    def _scaled(self, block: Block, piece: FilePiece, matrix: Floats) -> Floats:
        """The block's rows times their factors."""
        assert piece.scales is not None
        scales, source = piece.scales, piece.scales.source
        rows = piece.touched_rows(block.first, block.rows)
        first, end = scales.rows_for(rows)
        stored = read_rows(self._files, source, first, end - first)
        room = np.empty((end - first) * source.columns, np.float32)
        factors = self._codecs.decode(source.dtype, stored, room).reshape(end - first, -1)
        wide = np.repeat(factors, scales.columns, axis=1)[:, : piece.file_columns]
        each = wide[scales.blocks(rows) - first]
        if piece.transposed:
            each = each.T[piece.file_rows_of(block.first, block.rows)]
        product: Floats = matrix * each
        return product.ravel()

    def _as_stored(self, lossless: str, numbers: Floats, columns: int) -> Floats:
        """As the numbers come back out of llama.cpp's lossless file, which is quantized there."""
        if lossless == "F32":
            return numbers
        room = np.empty(2 * numbers.size, np.uint8)
        stored = self._codecs.encode(TensorType[lossless], numbers, room, columns)
        return self._codecs.decode(lossless, stored, np.empty(numbers.size, np.float32))


def _require_finite(block: Block, dtype: SourceType, rows: Bytes, *, made: bool = False) -> None:
    """Refuse rows that hold NaN or infinity: the block's as they are stored, or what was `made`
    of them, in whose type they can only have become so by being too large for it."""
    bad = row_not_finite(dtype, rows, stored_row_bytes(dtype, block.piece.columns))
    if bad is None:
        return
    if made:
        raise _too_large(block, dtype, bad)
    raise BadFileError(
        *_place(block, bad, "NaN or infinity"),
        hint=msg("the file is damaged, or was published so: localq verify tells which"),
    )


def _require_below(limit: float, block: Block, numbers: Floats) -> None:
    """Refuse numbers of that size, before a search that ends the process at them."""
    if max(float(numbers.max()), -float(numbers.min())) >= limit:
        first = int(np.argmax(np.abs(numbers) >= limit))
        raise _too_large(block, block.tensor.type.name, first // block.piece.columns)


def _too_large(block: Block, dtype: SourceType, bad: int) -> BadFileError:
    return BadFileError(
        *_place(block, bad, f"numbers too large for {dtype}"),
        hint=msg("the file is damaged, or the type too small for it: pull it again, or try bf16"),
    )


def _place(block: Block, bad: int, what: str) -> tuple[str, str]:
    """The file, and that the block's row number `bad` there holds `what`."""
    piece, source = block.piece, block.tensor.source
    path, name, line, row = source.name, source.name, "row", block.first + bad
    if isinstance(piece, FilePiece):
        path, name = str(piece.path), piece.name or source.name
        line = "column" if piece.transposed else "row"
        row = int(piece.file_rows_of(block.first, block.rows)[bad])
    also = "" if name == source.name else f" ({source.name})"
    return path, f"tensor {name[:200]!r}{also} holds {what} in {line} {row}"
