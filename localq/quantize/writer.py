"""The single pass: mapped checkpoint -> native codec -> the tensor's place in the output.

The file is cut into blocks of whole rows, of about a million numbers each. Every thread takes the
next block, whichever tensor it belongs to, decodes it into its own small buffer, encodes it and
writes it where it belongs; nothing is held longer than that, so memory does not depend on the
model. Nothing is read twice and no intermediate file exists.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localq.errors import BadFileError, Cancelled, storage_errors
from localq.events import Emit, Progress
from localq.formats.rows import FilePiece, MappedFiles, Piece
from localq.quantize.layout import FileLayout, PlacedTensor
from localq.quantize.native import Codecs, load_codecs

__all__ = ["write_file"]

_BLOCK_ELEMENTS = 1 << 20
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows [first, first + rows) of a piece, and where they go in the file."""

    tensor: PlacedTensor
    piece: Piece
    first: int
    rows: int
    offset: int


def write_file(
    path: Path,
    layout: FileLayout,
    *,
    threads: int,
    emit: Emit,
    cancel: threading.Event,
    stage: str = "quantizing",
) -> None:
    """Write the file at `path`, which must be a new name; it is complete when this returns.

    Emits Progress in bytes of output. Raises Cancelled, StorageError, or BadFileError for a
    checkpoint whose weights are NaN or infinite. Whoever called removes what was left at `path`.
    """
    codecs = load_codecs()
    for type_ in {tensor.type for tensor in layout.tensors}:
        codecs.prepare(type_)
    with MappedFiles() as files, storage_errors(path), _NewFile(path, layout.size_bytes) as output:
        files.open([p.path for t in layout.tensors for p in _file_pieces(t)])
        output.write(layout.header, 0)
        work = _Work(layout, files, codecs, output, cancel)
        with ThreadPoolExecutor(threads, thread_name_prefix="quantize") as pool:
            running = {pool.submit(work.run) for _ in range(threads)}
            try:
                while running:
                    done, running = wait(running, _PROGRESS_SECONDS, FIRST_EXCEPTION)
                    emit(Progress(stage, work.written, layout.size_bytes))
                    for future in done:
                        future.result()
            finally:
                work.stop()
        if cancel.is_set():
            raise Cancelled
        emit(Progress(stage, layout.size_bytes, layout.size_bytes))


def _file_pieces(tensor: PlacedTensor) -> Iterator[FilePiece]:
    return (piece for piece in tensor.source.pieces if isinstance(piece, FilePiece))


class _Work:
    """The blocks still to be done, shared by the threads."""

    def __init__(
        self,
        layout: FileLayout,
        files: MappedFiles,
        codecs: Codecs,
        output: _NewFile,
        cancel: threading.Event,
    ) -> None:
        self._blocks = _blocks(layout.tensors)
        self._lock = threading.Lock()
        self._files = files
        self._codecs = codecs
        self._output = output
        self._cancel = cancel
        self._stopped = False
        self.written = len(layout.header)

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Do blocks until there are none, or someone says stop."""
        floats = np.empty(0, np.float32)
        encoded = np.empty(0, np.uint8)
        while not (self._stopped or self._cancel.is_set()):
            with self._lock:
                block = next(self._blocks, None)
            if block is None:
                return
            source, type_ = block.tensor.source, block.tensor.type
            columns = block.piece.columns
            elements = block.rows * columns
            size = block.rows * type_.row_bytes(columns)
            if floats.size < elements:
                floats = np.empty(elements, np.float32)
            if encoded.size < size:
                encoded = np.empty(size, np.uint8)
            rows = self._files.read(block.piece, block.first, block.rows)
            numbers = self._codecs.decode(block.piece.dtype, rows, floats)
            if block.piece.transform is not None:
                matrix = block.piece.transform(block.first, numbers.reshape(block.rows, columns))
                numbers = np.ascontiguousarray(matrix, np.float32).ravel()
            data = self._codecs.encode(type_, numbers, encoded, columns)
            if type_.is_quantized and not self._codecs.valid(type_, data):
                raise BadFileError(
                    block.piece.path if isinstance(block.piece, FilePiece) else source.name,
                    f"tensor {source.name!r} holds NaN or infinity near row {block.first}",
                    hint="the checkpoint is damaged; pull it again",
                )
            self._output.write(data.data, block.offset)
            with self._lock:
                self.written += size


def _blocks(tensors: Sequence[PlacedTensor]) -> Iterator[_Block]:
    """The whole file in the order of its bytes, so that the disk is written front to back."""
    for tensor in tensors:
        offset = tensor.offset
        for piece in tensor.source.pieces:
            row_bytes = tensor.type.row_bytes(piece.columns)
            step = max(1, _BLOCK_ELEMENTS // piece.columns)
            for first in range(0, piece.rows, step):
                rows = min(step, piece.rows - first)
                yield _Block(tensor, piece, first, rows, offset)
                offset += rows * row_bytes


class _NewFile:
    """A file that did not exist, written at any offset by any thread."""

    def __init__(self, path: Path, size: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        self._lock = threading.Lock()
        # The gaps between tensors are then zeros without being written.
        os.ftruncate(self._descriptor, size)

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

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
