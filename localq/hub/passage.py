"""A file that is read once, in order, and kept by nobody here: its bytes go to whoever wants them.

Where the connection breaks, reading goes on at that byte; the checksum is computed on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from localq.errors import OfflineError
from localq.hub.backoff import Backoff, RetryPolicy, stop_if
from localq.hub.hashing import HashingAside
from localq.hub.progress import TransferMonitor
from localq.hub.source import Damaged, DigestKind, RemoteFile, Source, TransferInterrupted
from localq.messages import msg

__all__ = ["pass_through"]

_BATCH = 1 << 20
"""Bytes given on at once: threads that take turns for each chunk would mostly wait."""
_WORTHWHILE = 64 << 10
"""A connection that brought this many bytes may be replaced at once when it breaks."""


def pass_through(
    source: Source,
    file: RemoteFile,
    take: Callable[[bytes], None],
    *,
    policy: RetryPolicy,
    monitor: TransferMonitor,
    aside: ThreadPoolExecutor,
    beginning: bytes = b"",
) -> None:
    """Give every byte of the file to `take`, in order and once; counted on the board.

    The threads of `aside` do the hashing. Returns when all came and were right. Damaged if not, or
    if the file does not begin with `beginning`; what was given before is then void, and no longer
    counted. Raises HubError, OfflineError and Cancelled.
    """
    passage = _Passage(source, file, take, monitor, aside, beginning)
    backoff = Backoff(policy, monitor.stopped, monitor.note)
    try:
        while passage.have < file.size:
            stop_if(monitor.stopped)
            before = passage.have
            try:
                passage.receive()
            except (TransferInterrupted, OfflineError) as error:
                stop_if(monitor.stopped)
                if passage.have - before >= _WORTHWHILE:
                    backoff.progressed()
                else:
                    backoff.wait(error)
        passage.check()
    except Damaged:
        monitor.meter.add(-passage.have)
        raise


class _Passage:
    def __init__(
        self,
        source: Source,
        file: RemoteFile,
        take: Callable[[bytes], None],
        monitor: TransferMonitor,
        aside: ThreadPoolExecutor,
        beginning: bytes,
    ) -> None:
        self.have = 0
        self._source = source
        self._file = file
        self._take = take
        self._monitor = monitor
        self._beginning = beginning
        self._batch: list[bytes] = []
        self._batch_size = 0
        self._hasher = HashingAside(file.digest.hasher(file.size), aside)

    def receive(self) -> None:
        with ExitStack() as stack:
            with self._monitor.waiting():
                stream = stack.enter_context(self._source.open(self._file, self.have))
            self._monitor.hold(stream.abort)
            try:
                surplus = self.have - stream.start  # a server may begin at the first byte anew
                for chunk in self._monitor.chunks_of(stream):
                    stop_if(self._monitor.stopped)
                    self._give(chunk[surplus:] if surplus else chunk)
                    surplus = max(0, surplus - len(chunk))
            finally:
                self._monitor.release()
        if self.have < self._file.size:
            raise TransferInterrupted(
                msg("{path}: the connection closed before the file's end", path=self._file.path)
            )

    def _give(self, chunk: bytes) -> None:
        if self.have + len(chunk) > self._file.size:
            raise Damaged(msg("it is longer than the {size:,} bytes listed", size=self._file.size))
        if self.have < len(self._beginning):
            expected = self._beginning[self.have : self.have + len(chunk)]
            if chunk[: len(expected)] != expected:
                raise Damaged(msg("it does not begin with the header that was read before"))
        self.have += len(chunk)
        self._monitor.meter.add(len(chunk))
        self._batch.append(chunk)
        self._batch_size += len(chunk)
        if self._batch_size >= _BATCH:
            self._give_on()

    def _give_on(self) -> None:
        data = b"".join(self._batch)
        self._batch, self._batch_size = [], 0
        self._hasher.update(data)
        self._take(data)

    def check(self) -> None:
        """Damaged unless all that came is what it should be."""
        self._give_on()
        if self._hasher.hexdigest() != self._file.digest.hex:
            kind = self._file.digest.kind
            name = "sha256" if kind is DigestKind.SHA256 else "Git blob id"
            raise Damaged(msg("its {name} is not the one listed", name=name))
