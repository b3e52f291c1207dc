"""Weights from the Hub through the codecs to their place in a file, in one go."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from localq.errors import BadFileError, Cancelled, HubError, storage_errors
from localq.events import Emit, Note
from localq.hub.backoff import RetryPolicy
from localq.hub.passage import pass_through
from localq.hub.progress import ByteCounter, TransferMonitor
from localq.hub.source import Damaged
from localq.messages import msg

if TYPE_CHECKING:
    from localq.quantize.arrival import FileGroup
    from localq.quantize.stream import StreamWriter
    from localq.services.make.making import Unfinished
    from localq.services.pull.remote import RemoteCheckpoint

__all__ = ["Arrived", "write_as_it_arrives"]

_AT_ONCE = 2
"""Files on their way together: one fills the pauses of the other."""


class Arrived(NamedTuple):
    """The bytes that came over the network, and the SHA-256 of the file that was written."""

    moved_bytes: int
    sha256: str


def write_as_it_arrives(
    remote: RemoteCheckpoint,
    file: Unfinished,
    emit: Emit,
    cancel: threading.Event,
    *,
    policy: RetryPolicy | None = None,
) -> Arrived:
    """Write the quantized file; every shard was verified when this returns.

    Shards that the journal holds are not fetched again. Emits Progress in bytes of the shards.
    Raises Cancelled, StorageError, HubError for a
    shard that arrives damaged twice, BadFileError for weights that are NaN or infinite.
    """
    from localq.hardware import cpu_threads
    from localq.quantize.stream import StreamWriter

    with storage_errors(file.partial):
        writer = StreamWriter(
            file.partial, file.layout, list(remote.shards), file.journal, threads=cpu_threads()
        )
        total = sum(shard.size for shard in remote.shards.values())
        monitor = TransferMonitor(emit, "downloading and quantizing", total)
        monitor.meter.add(sum(remote.shards[path].size for path in writer.finished))
        with (
            writer,
            ThreadPoolExecutor(_AT_ONCE, "hash") as aside,
            ThreadPoolExecutor(_AT_ONCE, "stream") as pool,
        ):
            arriving = _Arriving(remote, writer, monitor, aside, policy or RetryPolicy())
            units = [pool.submit(arriving.bring, unit) for unit in writer.units]
            for unit in units:
                unit.add_done_callback(lambda future: monitor.wake())
            try:
                while not all(unit.done() for unit in units):
                    monitor.wait()
                    monitor.tell()
                    writer.begin_flush()
                    if cancel.is_set():
                        raise Cancelled("stopped")
                    _raise_failure(units, writer)
                _raise_failure(units, writer)
                sha256 = writer.finish()
            finally:
                # Whoever waits for bytes, or for room for them, is let go.
                monitor.stop()
                writer.stop()
                for unit in units:
                    unit.cancel()
        monitor.tell(finished=True)
    return Arrived(arriving.moved.done, sha256)


def _raise_failure(units: list[Future[None]], writer: StreamWriter) -> None:
    """What went wrong first: a failure of the writer ends the units with Cancelled."""
    errors = [error for unit in units if unit.done() and (error := unit.exception())]
    if writer.failure is not None:
        raise writer.failure
    for error in errors:
        raise error


class _Arriving:
    def __init__(
        self,
        remote: RemoteCheckpoint,
        writer: StreamWriter,
        monitor: TransferMonitor,
        aside: ThreadPoolExecutor,
        policy: RetryPolicy,
    ) -> None:
        self.moved = ByteCounter()
        self._remote = remote
        self._writer = writer
        self._monitor = monitor
        self._aside = aside
        self._policy = policy

    def bring(self, unit: FileGroup) -> None:
        """Fetch the unit's files, once more if one of them came damaged."""
        try:
            self._attempt(unit)
        except _ArrivedDamaged as first:
            self._monitor.note(
                Note(msg("{message}; fetching it again", message=first.message), warning=True)
            )
            try:
                self._attempt(unit)
            except _ArrivedDamaged as error:
                raise HubError(
                    msg("{message}, for the second time", message=error.message),
                    hint=msg(
                        "run the same command again later; if it stays so, tell the model's owner"
                    ),
                ) from error
        self._settle(unit)

    def _attempt(self, unit: FileGroup) -> None:
        self._writer.begin(unit)
        right = 0
        for path in unit.files:
            file = self._remote.shards[path]
            try:
                pass_through(
                    self._remote.source,
                    file,
                    partial(self._take, path),
                    policy=self._policy,
                    monitor=self._monitor,
                    aside=self._aside,
                    beginning=self._remote.headers[path].beginning,
                )
            except Damaged as error:
                self._monitor.meter.add(-right)
                raise _ArrivedDamaged(
                    msg(
                        "{repo}: {path} arrived damaged: {message}",
                        repo=self._remote.source.repo,
                        path=file.path,
                        message=error.message,
                    )
                ) from error
            right += file.size

    def _take(self, path: Path, chunk: bytes) -> None:
        self._writer.take(path, chunk)
        self.moved.add(len(chunk))

    def _settle(self, unit: FileGroup) -> None:
        try:
            self._writer.settle(unit)
        except BadFileError as error:
            # The path names no file that is there.
            source, file = self._remote.source, self._remote.shards[error.path]
            problem = error.message.removeprefix(f"{error.path}: ")
            raise BadFileError(
                f"{source.repo}/{file.path}",
                problem,
                hint=msg("its owner may have published it so; try another type, such as bf16"),
            ) from error


class _ArrivedDamaged(Damaged):
    """With the file's name in the message."""
