"""Keeps a job's record while the job runs, and looks whether it was asked to stop."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType

from localq.errors import Cancelled, LibraryError, LocalqError, StorageError
from localq.events import Emit, JobEvent, Note, Progress, Started
from localq.jobs.cancel_event import CancelEvent
from localq.jobs.job import Draft, JobProgress, JobState
from localq.jobs.store import JobRunning, JobStore
from localq.liveness import LivenessLock
from localq.messages import msg

__all__ = ["Recorder"]

_LOOK_SECONDS = 0.5
"""How soon a job notices that it was asked to stop; its progress is saved half as often."""
_SPEED_SECONDS = 10.0
"""The speed is that of so long a time."""


class Recorder:
    """An `Emit` that stands before `emit`; a context manager around the work.

    A `Draft` enters the book when the work says that it has begun (`Started`): what was there
    already, or made no sense, leaves no record. A job that was taken from the book is given by
    its number and its lock. How the block ends is how the job ends.
    """

    def __init__(
        self,
        store: JobStore,
        job: Draft | tuple[int, LivenessLock],
        emit: Emit,
        cancel: threading.Event,
    ) -> None:
        self.result: str | None = None
        """What was made, in a few words: to be set before the block ends."""
        self._store = store
        self._draft = job if isinstance(job, Draft) else None
        self._held = None if isinstance(job, Draft) else job
        self._emit = emit
        self._cancel = cancel
        self._over = threading.Event()
        self._watch: threading.Thread | None = None
        self._latest: Progress | None = None
        self._saved: Progress | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, event: JobEvent) -> None:
        if isinstance(event, Started) and self._draft is not None:
            draft, self._draft = self._draft, None
            self._begin(draft)
        if isinstance(event, Progress):
            self._latest = event
        self._emit(event)

    def __enter__(self) -> Recorder:
        if self._held is not None:
            self._start_watching(self._held[0])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._held is None:
            if self._draft is not None and error is None:
                self._end_earlier(self._draft)
            return
        job_id, lock = self._held
        assert self._watch is not None
        self._watch.join()
        try:
            self._end(job_id, error)
        except (LibraryError, StorageError) as problem:
            # The work is done all the same; readers take the job for an interrupted one.
            self._emit(
                Note(
                    msg(
                        "how job {job_id} ended is not recorded: {problem}",
                        job_id=job_id,
                        problem=problem,
                    ),
                    warning=True,
                )
            )
        finally:
            lock.release()

    def _begin(self, draft: Draft) -> None:
        try:
            self._held = self._store.begin(draft)
        except JobRunning:
            raise
        except (LibraryError, StorageError) as problem:
            # What may be worth doing with a full disk, or without a library, is done.
            self._emit(
                Note(msg("this job is not recorded: {problem}", problem=problem), warning=True)
            )
            return
        self._start_watching(self._held[0])

    def _end_earlier(self, draft: Draft) -> None:
        """There was nothing to do: perhaps because a job that was killed had done it."""
        with suppress(LibraryError, StorageError):  # the next run can say it as well
            self._store.finish_idle(draft, self.result)

    def _start_watching(self, job_id: int) -> None:
        self._watch = threading.Thread(
            target=self._look_on, args=(job_id,), name=f"job {job_id}", daemon=True
        )
        self._watch.start()

    def _look_on(self, job_id: int) -> None:
        looks = 0
        while not self._over.wait(_LOOK_SECONDS):
            looks += 1
            # A database that is busy or on a full disk is asked again at the next look.
            with suppress(LibraryError, StorageError):
                if not self._cancel.is_set() and self._store.is_asked_to_stop(job_id):
                    self._cancel.set()
                latest = self._latest
                if looks % 2 and latest is not None and latest != self._saved:
                    self._store.save(job_id, self._progress(latest))
                    self._saved = latest

    def _progress(self, latest: Progress) -> JobProgress:
        saved = self._saved
        if saved is None or (saved.stage, saved.total) != (latest.stage, latest.total):
            self._samples.clear()
        now = time.monotonic()
        self._samples.append((now, latest.done))
        while now - self._samples[0][0] > _SPEED_SECONDS:
            self._samples.popleft()
        began, before = self._samples[0]
        speed = (latest.done - before) / (now - began) if now - began > 0.1 else None
        return JobProgress(
            latest.stage,
            latest.done,
            latest.total,
            latest.unit,
            speed if speed and speed > 0 else None,
        )

    def _end(self, job_id: int, error: BaseException | None) -> None:
        progress = self._progress(self._latest) if self._latest else JobProgress()
        match error:
            case None:
                self._store.end(job_id, JobState.FINISHED, progress, result=self.result)
            case Cancelled() | KeyboardInterrupt():
                by_system = isinstance(self._cancel, CancelEvent) and self._cancel.by_system
                state = JobState.INTERRUPTED if by_system else JobState.CANCELLED
                self._store.end(job_id, state, progress)
                if isinstance(error, Cancelled) and error.hint is None:
                    error.hint = f"localq jobs resume {job_id}"
            case LocalqError(message=message, hint=hint):
                self._store.end(job_id, JobState.FAILED, progress, error=message, hint=hint)
            case _:
                text = msg("{kind}: {error}", kind=type(error).__name__, error=error)
                self._store.end(job_id, JobState.FAILED, progress, error=text)
