"""The single pass: mapped source -> native codec -> the tensor's place in the output.

The file is cut into blocks of whole rows, of about a million numbers each. Every thread takes the
next block, whichever tensor it belongs to, decodes it into its own small buffer, encodes it and
writes it where it belongs; nothing is held longer than that, so memory does not depend on the
model. Nothing is read twice and no intermediate file exists. From time to time what is written is
flushed and the finished tensors are noted in a journal, so that a killed run can be gone on with.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError, Cancelled, storage_errors
from localq.events import Emit, Progress
from localq.formats.rows import BlockScales, FilePiece, MappedFiles, Piece
from localq.formats.types import TensorType
from localq.quantize.journal import Journal
from localq.quantize.layout import FileLayout, PlacedTensor
from localq.quantize.native import Bytes, Codecs, Floats, load_codecs

__all__ = ["source_files", "write_file"]

_BLOCK_ELEMENTS = 1 << 20
_PROGRESS_SECONDS = 0.1
_FLUSH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows [first, first + rows) of a piece, and where they go in the file.

    All rows belong to the same expert, whose part of the importance matrix begins at `weights`.
    """

    number: int
    tensor: PlacedTensor
    piece: Piece
    first: int
    rows: int
    offset: int
    weights: int


def source_files(layout: FileLayout) -> set[Path]:
    """The files that the tensors' rows lie in."""
    pieces = [piece for tensor in layout.tensors for piece in tensor.source.pieces]
    factors = [piece.scales.source for piece in pieces if piece.scales is not None]
    return {piece.path for piece in (*pieces, *factors) if isinstance(piece, FilePiece)}


def write_file(
    path: Path,
    layout: FileLayout,
    *,
    threads: int,
    emit: Emit,
    cancel: threading.Event,
    journal: Journal | None = None,
    before: int = 0,
    total: int = 0,
    stage: str = "quantizing",
) -> None:
    """Write the file at `path`; it is complete when this returns.

    With a journal, tensors that it and a file at `path` already hold are kept. Emits Progress in
    bytes of output: of `total` if this is one of several files, `before` being done. Raises
    Cancelled, StorageError, or BadFileError for weights that are NaN or infinite. Whoever called
    decides what becomes of an unfinished file.
    """
    total = total or before + layout.size_bytes
    codecs = load_codecs()
    for type_ in {tensor.type for tensor in layout.tensors}:
        codecs.prepare(type_)
    done = _already_written(path, layout, journal)
    with MappedFiles() as files, storage_errors(path), _Output(path, layout.size_bytes) as output:
        files.open(sorted(source_files(layout)))
        output.write(layout.header, 0)
        work = _Work(layout, done, files, codecs, output, cancel)
        flushed = time.monotonic()
        with ThreadPoolExecutor(threads, thread_name_prefix="quantize") as pool:
            running = {pool.submit(work.run) for _ in range(threads)}
            try:
                while running:
                    ended, running = wait(running, _PROGRESS_SECONDS, FIRST_EXCEPTION)
                    emit(Progress(stage, before + work.written, total))
                    output.begin_flush()
                    for future in ended:
                        future.result()
                    if journal and time.monotonic() - flushed > _FLUSH_SECONDS:
                        _note(journal, work, output)
                        flushed = time.monotonic()
            finally:
                work.stop()
        if cancel.is_set():
            if journal:
                _note(journal, work, output)
            raise Cancelled("stopped; the same command goes on from here" if journal else "stopped")
        emit(Progress(stage, before + layout.size_bytes, total))


def _already_written(path: Path, layout: FileLayout, journal: Journal | None) -> set[int]:
    if journal is None:
        return set()
    try:
        whole = path.stat().st_size == layout.size_bytes
    except FileNotFoundError:
        whole = False
    done = journal.finished(len(layout.tensors)) if whole else set()
    if not done:
        with storage_errors(path):
            path.unlink(missing_ok=True)
            journal.begin()
    return done


def _note(journal: Journal, work: _Work, output: _Output) -> None:
    finished = work.take_finished()
    if finished:
        output.flush()
        journal.add(finished)


class _Work:
    """The blocks still to be done, shared by the threads."""

    def __init__(
        self,
        layout: FileLayout,
        done: set[int],
        files: MappedFiles,
        codecs: Codecs,
        output: _Output,
        cancel: threading.Event,
    ) -> None:
        self._blocks = _blocks(layout, done)
        self._lock = threading.Lock()
        self._files = files
        self._codecs = codecs
        self._output = output
        self._cancel = cancel
        self._stopped = False
        self._left = [tensor.source.rows * tensor.source.columns for tensor in layout.tensors]
        self._finished: list[int] = []
        self.written = len(layout.header) + sum(layout.tensors[i].nbytes for i in done)

    def stop(self) -> None:
        self._stopped = True

    def take_finished(self) -> list[int]:
        """The tensors finished since this was last asked."""
        with self._lock:
            finished, self._finished = self._finished, []
        return finished

    def run(self) -> None:
        """Do blocks until there are none, or someone says stop."""
        buffers = _Buffers()
        while not (self._stopped or self._cancel.is_set()):
            with self._lock:
                block = next(self._blocks, None)
            if block is None:
                return
            data = self._convert(block, buffers)
            self._output.write(data, block.offset)
            with self._lock:
                self.written += len(data)
                self._left[block.number] -= block.rows * block.piece.columns
                if not self._left[block.number]:
                    self._finished.append(block.number)

    def _convert(self, block: _Block, buffers: _Buffers) -> memoryview:
        piece, type_, columns = block.piece, block.tensor.type, block.piece.columns
        rows = self._files.read(piece, block.first, block.rows)
        if piece.dtype == type_.name and piece.transform is None:
            return rows.data
        floats, encoded = buffers.of(block.rows * columns, block.rows * type_.row_bytes(columns))
        numbers = self._codecs.decode(piece.dtype, rows, floats)
        if piece.scales is not None:
            rows_of_file = piece.file_rows_of(block.first, block.rows)
            numbers = self._scaled(piece.scales, rows_of_file, numbers.reshape(block.rows, columns))
        if piece.transform is not None:
            matrix = piece.transform(block.first, numbers.reshape(block.rows, columns))
            numbers = np.ascontiguousarray(matrix, np.float32).ravel()
        if type_.is_quantized and (piece.scales or piece.transform):
            numbers = self._as_stored(block.tensor.source.lossless, numbers, columns)
        weights = block.tensor.weights
        if weights is not None:
            weights = weights[block.weights : block.weights + columns]
        data = self._codecs.encode(type_, numbers, encoded, columns, weights)
        if type_ is not TensorType.F32 and not self._codecs.valid(type_, data):
            raise _unusable(block)
        return data.data

    def _scaled(self, scales: BlockScales, rows: npt.NDArray[np.intp], matrix: Floats) -> Floats:
        """The matrix, whose rows are those of the file, times its factors."""
        blocks = scales.blocks(rows)
        first, end = int(blocks.min()), int(blocks.max()) + 1
        source = scales.source
        stored = self._files.read(source, first, end - first)
        room = np.empty((end - first) * source.columns, np.float32)
        factors = self._codecs.decode(source.dtype, stored, room).reshape(end - first, -1)
        wide = np.repeat(factors, scales.columns, axis=1)[:, : matrix.shape[1]]
        product: Floats = matrix * wide[blocks - first]
        return product.ravel()

    def _as_stored(self, lossless: str, numbers: Floats, columns: int) -> Floats:
        """As the numbers come back out of llama.cpp's lossless file, which is quantized there."""
        if lossless == "F32":
            return numbers
        room = np.empty(2 * numbers.size, np.uint8)
        stored = self._codecs.encode(TensorType[lossless], numbers, room, columns)
        return self._codecs.decode(lossless, stored, np.empty(numbers.size, np.float32))


def _unusable(block: _Block) -> BadFileError:
    source, piece = block.tensor.source, block.piece
    return BadFileError(
        piece.path if isinstance(piece, FilePiece) else source.name,
        f"tensor {source.name!r} holds NaN or infinity, or numbers too large for "
        f"{block.tensor.type.name}, near row {block.first}",
        hint="the file is damaged, or the type too small for it: pull it again, or try bf16",
    )


class _Buffers:
    """One thread's room for a block, kept from one block to the next."""

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)
        self._encoded = np.empty(0, np.uint8)

    def of(self, elements: int, size: int) -> tuple[Floats, Bytes]:
        if self._floats.size < elements:
            self._floats = np.empty(elements, np.float32)
        if self._encoded.size < size:
            self._encoded = np.empty(size, np.uint8)
        return self._floats, self._encoded


def _blocks(layout: FileLayout, done: set[int]) -> Iterator[_Block]:
    """The whole file in the order of its bytes, so that the disk is written front to back."""
    for number, tensor in enumerate(layout.tensors):
        if number in done:
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
                yield _Block(number, tensor, piece, first, rows, offset, weights)
                offset += rows * row_bytes
                first += rows
                row += rows


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux's sync_file_range(2), which Python's os module lacks."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range = _find_sync_file_range()
_SYNC_FILE_RANGE_WRITE = 2


class _Output:
    """A file of known size, written at any offset by any thread."""

    def __init__(self, path: Path, size: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        self._lock = threading.Lock()
        # The gaps between tensors are then zeros without being written.
        os.ftruncate(self._descriptor, size)

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def begin_flush(self) -> None:
        """Let the disk begin on what was written, so that the last flush has little left to do."""
        if _sync_file_range is not None:
            _sync_file_range(self._descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def flush(self) -> None:
        """Return when all that was written is on the disk."""
        os.fsync(self._descriptor)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        if not hasattr(os, "pwrite"):
            with self._lock:  # Windows writes only at the file's position
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            return
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view, offset = view[count:], offset + count
