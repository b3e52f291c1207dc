"""What several threads have brought in together, told by the one thread that emits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from localq.events import Emit, JobEvent, Note, Progress
from localq.hub.backoff import stop_if
from localq.hub.source import Stream
from localq.hub.waiting import QUIET_SECONDS
from localq.messages import msg

__all__ = ["TransferMonitor", "ByteCounter"]

_SECONDS_BETWEEN_EVENTS = 0.1


@dataclass(slots=True)
class ByteCounter:
    """How many bytes are there; any thread may add some."""

    done: int = field(default=0, init=False)
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count


class TransferMonitor:
    """Where workers leave their news and see that they are to stop.

    `emit` is called by `tell` only, so that whoever listens hears one thread.
    """

    def __init__(self, emit: Emit, stage: str, total: int) -> None:
        self.meter = ByteCounter()
        self.stopped = threading.Event()
        self._emit = emit
        self._stage = stage
        self._total = total
        self._news = threading.Event()
        self._notes: deque[JobEvent] = deque()
        self._said: set[str] = set()
        self._told_of_silence = False
        self._shown: tuple[float, int] = (float("-inf"), -1)
        self._arrived_at = time.monotonic()
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self._aborts: dict[int, Callable[[], None]] = {}

    def note(self, event: JobEvent) -> None:
        """An `Emit` for workers."""
        self._notes.append(event)
        self._news.set()

    def wake(self) -> None:
        """Something ended: whoever waits should look."""
        self._news.set()

    def wait(self) -> None:
        """Until there is news, but not for long."""
        self._news.wait(_SECONDS_BETWEEN_EVENTS)
        self._news.clear()

    def tell(self, *, finished: bool = False) -> None:
        """Emit what is new: each note once, however many workers wait for the same reason."""
        while self._notes:
            event = self._notes.popleft()
            if not isinstance(event, Note) or event.text not in self._said:
                self._emit(event)
            if isinstance(event, Note):
                self._said.add(event.text)
        now, done = time.monotonic(), self.meter.done
        shown_at, shown = self._shown
        self._tell_of_silence(now)
        if finished or (done != shown and now - shown_at >= _SECONDS_BETWEEN_EVENTS):
            self._shown = (now, done)
            self._emit(Progress(self._stage, done, self._total))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this thread can do nothing but wait for a server."""
        me = threading.get_ident()
        self._waiting.add(me)
        try:
            yield
        finally:
            self._waiting.discard(me)
            self._arrived_at = time.monotonic()

    def chunks_of(self, stream: Stream) -> Iterator[bytes]:
        """The stream's chunks; while there is none to be had, this thread counts as waiting."""
        chunks = iter(stream.chunks)
        while True:
            with self.waiting():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _tell_of_silence(self, now: float) -> None:
        """Once, of servers that send nothing while somebody waits for them."""
        if self._waiting and now - self._arrived_at >= QUIET_SECONDS and not self._told_of_silence:
            self._told_of_silence = True
            self._emit(
                Note(
                    msg(
                        "{stage}: nothing has come for {quiet_seconds:.0f} s",
                        stage=self._stage,
                        quiet_seconds=QUIET_SECONDS,
                    )
                )
            )

    def stop(self) -> None:
        """Let every worker stop: at its next look at `stopped`, or out of a wait for bytes."""
        self.stopped.set()
        with self._lock:
            aborts = list(self._aborts.values())
        for abort in aborts:
            abort()

    def hold(self, abort: Callable[[], None]) -> None:
        """Have `abort` called from another thread when this thread is to stop.

        Raises Cancelled where it is to stop already. A thread holds one at a time.
        """
        with self._lock:
            self._aborts[threading.get_ident()] = abort
        stop_if(self.stopped)

    def release(self) -> None:
        with self._lock:
            self._aborts.pop(threading.get_ident(), None)
