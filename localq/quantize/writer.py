"""The single pass: mapped source -> native codec -> the tensor's place in the output.

Every thread takes the next block, whichever tensor it belongs to, decodes it into its own small
buffer, encodes it and writes it where it belongs; nothing is held longer than that, so memory
does not depend on the model. Nothing is read twice and no intermediate file exists. From time to
time what is written is flushed and the finished tensors are noted in a journal, so that a killed
run can be gone on with.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from localq.errors import Cancelled, storage_errors
from localq.events import Emit, Progress
from localq.formats.rows import MappedFiles
from localq.quantize.blocks import cut, source_files
from localq.quantize.encoder import Buffers, Encoder
from localq.quantize.file_hash import FileHash
from localq.quantize.journal import Journal
from localq.quantize.layout import FileLayout
from localq.quantize.output import OutputFile

__all__ = ["write_file"]

_PROGRESS_SECONDS = 0.1
_FLUSH_SECONDS = 2.0


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
    hashed: bool = False,
) -> str | None:
    """Write the file at `path`; it is complete when this returns. Returns its SHA-256 if that is
    to be `hashed`, which is done on the way.

    With a journal, tensors that it and a file at `path` already hold are kept. Emits Progress in
    bytes of output: of `total` if this is one of several files, `before` being done. Raises
    Cancelled, StorageError, or BadFileError for weights that are NaN or infinite. Whoever called
    decides what becomes of an unfinished file.
    """
    total = total or before + layout.size_bytes
    with MappedFiles() as files, storage_errors(path):
        encoder = Encoder(layout, files)
        done = journal.resume(path, layout.size_bytes, len(layout.tensors)) if journal else set()
        files.open(sorted(source_files(layout)))
        with OutputFile(path, layout.size_bytes) as output, ExitStack() as stack:
            output.write(layout.header, 0)
            hashing = None
            if hashed:
                offsets = [block.offset for block in cut(layout, without=done)]
                hashing = stack.enter_context(FileHash(path, layout.size_bytes, offsets))
            work = _Work(layout, done, encoder, output, cancel, hashing)
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
                raise Cancelled("stopped")
            sha256 = hashing.finish() if hashing else None
        emit(Progress(stage, before + layout.size_bytes, total))
    return sha256


def _note(journal: Journal, work: _Work, output: OutputFile) -> None:
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
        encoder: Encoder,
        output: OutputFile,
        cancel: threading.Event,
        hashing: FileHash | None,
    ) -> None:
        self._blocks = enumerate(cut(layout, without=done))
        self._hashing = hashing
        self._lock = threading.Lock()
        self._encoder = encoder
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
        buffers = Buffers()
        while not (self._stopped or self._cancel.is_set()):
            with self._lock:
                following = next(self._blocks, None)
            if following is None:
                return
            number, block = following
            data = self._encoder.encode(block, buffers)
            self._output.write(data, block.offset)
            if self._hashing is not None:
                self._hashing.wrote(number)
            with self._lock:
                self.written += len(data)
                self._left[block.number] -= block.elements
                if not self._left[block.number]:
                    self._finished.append(block.number)
