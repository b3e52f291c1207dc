"""The records of jobs, as the rest of localq sees them: one transaction for each question."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from localq.database import Database
from localq.errors import NotFoundError
from localq.jobs.job import Draft, Job, JobProgress, JobState
from localq.jobs.records import JobRunning, Records
from localq.liveness import LivenessLock
from localq.messages import msg
from localq.paths import Paths

__all__ = ["JobStore", "JobRunning"]

_KEPT = 100
"""How many jobs that came to an end are remembered."""


class JobStore:
    """The jobs of one localq home. Any thread or process may use it at the same time."""

    def __init__(self, paths: Paths, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(paths.database)
        self._locks = paths.data / "jobs"
        self._logs = paths.log / "jobs"
        self._clock = clock

    def jobs(self) -> list[Job]:
        """All jobs, the oldest first."""
        with self._database.read() as connection:
            return [] if connection is None else self._records(connection).all()

    def job(self, job_id: int) -> Job:
        """NotFoundError where there is no such job."""
        with self._database.read() as connection:
            if connection is None:
                raise NotFoundError(
                    msg("there is no job {job_id}", job_id=job_id),
                    hint=msg("localq pull begins one"),
                )
            return self._records(connection).get(job_id)

    def log(self, job_id: int) -> Path:
        """Where a job without a terminal writes what it has to say."""
        return self._logs / f"{job_id}.log"

    def queue(self, draft: Draft) -> int:
        """Record a job for another process to `take`; JobRunning if it is being done already."""
        with self._database.write() as connection:
            records = self._records(connection)
            job_id = records.enter(draft, detached=True)
            self._drop(records, records.outdated(_KEPT))
        return job_id

    def queue_again(self, job_id: int) -> None:
        """As `queue`, for a job that is recorded."""
        with self._database.write() as connection:
            records = self._records(connection)
            records.reset(records.get_idle(job_id).id, detached=True)

    def begin(self, draft: Draft) -> tuple[int, LivenessLock]:
        """Record a job that this process runs from now on, until it lets go of the lock.

        One that asked for the same and did not finish gives its place. JobRunning if it is being
        done already.
        """
        with ExitStack() as undo:
            with self._database.write() as connection:
                records = self._records(connection)
                job_id = records.enter(draft, detached=False)
                lock = records.start(job_id)
                undo.callback(lock.release)
                self._drop(records, records.outdated(_KEPT))
            undo.pop_all()  # whoever reads the record from now on finds its lock held
        return job_id, lock

    def take(self, job_id: int, *, detached: bool) -> tuple[Job, LivenessLock]:
        """Run a recorded job from now on; JobRunning if another process does."""
        with ExitStack() as undo:
            with self._database.write() as connection:
                records = self._records(connection)
                job = records.get(job_id)
                lock = records.start(job_id)
                undo.callback(lock.release)
                if job.state is not JobState.QUEUED:  # then it may have been asked to stop
                    records.ask_to_stop(job_id, stop=False)
                records.set_detached(job_id, detached=detached)
            undo.pop_all()
        return job, lock

    def save(self, job_id: int, progress: JobProgress) -> None:
        """Note how far the job is."""
        with self._database.write() as connection:
            self._records(connection).save(job_id, progress)

    def end(
        self,
        job_id: int,
        state: JobState,
        progress: JobProgress,
        *,
        error: str | None = None,
        hint: str | None = None,
        result: str | None = None,
    ) -> None:
        """Note how the job ended. The caller lets go of its lock afterwards."""
        with self._database.write() as connection:
            records = self._records(connection)
            records.save(job_id, progress)
            records.end(job_id, state, error=error, hint=hint, result=result)

    def ask_to_stop(self, job_id: int) -> None:
        """Let the job's process know; it looks twice a second."""
        with self._database.write() as connection:
            self._records(connection).ask_to_stop(job_id, stop=True)

    def is_asked_to_stop(self, job_id: int) -> bool:
        with self._database.read() as connection:
            return connection is not None and self._records(connection).is_asked_to_stop(job_id)

    def cancel_idle(self, job_id: int) -> None:
        """Let a job that no process runs any more count as cancelled."""
        with self._database.write() as connection:
            records = self._records(connection)
            records.end(records.get_idle(job_id).id, JobState.CANCELLED)

    def finish_idle(self, draft: Draft, result: str | None) -> None:
        """What the draft asks for is there: so a job that did not finish making it is done."""
        with self._database.read() as connection:
            if connection is None or not self._records(connection).unfinished(draft):
                return
        with self._database.write() as connection:
            records = self._records(connection)
            for job in records.unfinished(draft):
                if not job.state.is_active:
                    records.end(job.id, JobState.FINISHED, result=result)

    def forget(self, job_ids: Iterable[int]) -> list[int]:
        """Delete the records (and logs) of those of the jobs that do not run, and say which."""
        with self._database.write() as connection:
            records = self._records(connection)
            idle = [job_id for job_id in job_ids if not records.get(job_id).state.is_active]
            self._drop(records, idle)
        return idle

    def _drop(self, records: Records, job_ids: Iterable[int]) -> None:
        for job_id in job_ids:
            records.delete(job_id)
            for file in (self.log(job_id), records.lock_path(job_id)):
                with suppress(OSError):  # Windows may have it open; no number is given twice
                    file.unlink(missing_ok=True)

    def _records(self, connection: sqlite3.Connection) -> Records:
        return Records(connection, self._database.path, self._locks, self._clock)
