"""The table of jobs within one transaction, and the locks that tell which of them run."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from localq.database.connection import damaged
from localq.database.rows import insert
from localq.errors import LibraryError, NotFoundError
from localq.events import Unit
from localq.jobs.job import Draft, Job, JobProgress, JobState
from localq.liveness import LivenessLock, is_held
from localq.messages import msg

__all__ = ["JobRunning", "Records"]

_START_SECONDS = 30.0
"""How long a process that was started for a job may take before it says so."""
_MAX_TEXT = 2000
_MAX_NUMBER = 2**63 - 1
_SELECT = """
    SELECT id, kind, title, request, state, stage, done, total, unit, speed, created_at,
           started_at, updated_at, ended_at, pid, agreed, detached, error, hint, result
    FROM jobs
"""


class JobRunning(LibraryError):
    """The same is being done already, by the job `job_id`."""

    def __init__(self, job_id: int, title: str) -> None:
        super().__init__(
            msg("job {job_id} does that already: {title}", job_id=job_id, title=title),
            hint="localq jobs --watch",
        )
        self.job_id = job_id


@dataclass(frozen=True, slots=True)
class Records:
    """The jobs as one connection sees them. `locks` is the folder of the lock files."""

    connection: sqlite3.Connection
    database: Path
    locks: Path
    clock: Callable[[], float]

    def all(self) -> list[Job]:
        return self._select("ORDER BY id")

    def get(self, job_id: int) -> Job:
        """NotFoundError where there is no such job."""
        found = self._select("WHERE id = ?", job_id)
        if not found:
            raise NotFoundError(
                msg("there is no job {job_id}", job_id=job_id), hint="localq jobs --all"
            )
        return found[0]

    def get_idle(self, job_id: int) -> Job:
        """As `get`; JobRunning where a process runs it."""
        job = self.get(job_id)
        if job.state.is_active:
            raise JobRunning(job.id, job.title)
        return job

    def unfinished(self, draft: Draft) -> list[Job]:
        """The jobs that ask for the same and did not finish, or not yet."""
        return self._select("WHERE key = ? AND state != 'finished' ORDER BY id", _key(draft))

    def enter(self, draft: Draft, *, detached: bool) -> int:
        """The number of the draft's record: that of the same job from before, or a new one.

        JobRunning where a process runs it.
        """
        same = [self.get_idle(job.id) for job in self.unfinished(draft)]
        if same:
            self.reset(same[-1].id, detached=detached)
            self._set(same[-1].id, agreed=draft.agreed)
            return same[-1].id
        now = self.clock()
        row = {
            "kind": draft.kind,
            "title": _storable(draft.title),
            "key": _key(draft),
            "request": draft.request,
            "agreed": draft.agreed,
            "detached": detached,
            "state": JobState.QUEUED.value,
            "created_at": now,
            "updated_at": now,
        }
        number = insert(self.connection, "jobs", row)
        assert number is not None
        return number

    def reset(self, job_id: int, *, detached: bool) -> None:
        """As if the job had just been entered."""
        self._set(
            job_id,
            **dict.fromkeys(("speed", "error", "hint", "result", "started_at", "ended_at", "pid")),
            state=JobState.QUEUED.value,
            detached=detached,
            stop_asked=False,
            updated_at=self.clock(),
        )

    def start(self, job_id: int) -> LivenessLock:
        """Note that this process runs the job; JobRunning where another does."""
        job = self.get(job_id)
        lock = LivenessLock(self.lock_path(job_id))
        if not lock.acquire():
            raise JobRunning(job_id, job.title)
        try:
            now = self.clock()
            self._set(
                job_id,
                **dict.fromkeys(("error", "hint", "result", "ended_at")),
                state=JobState.RUNNING.value,
                pid=os.getpid(),
                started_at=now,
                updated_at=now,
            )
        except BaseException:
            lock.release()
            raise
        return lock

    def save(self, job_id: int, progress: JobProgress) -> None:
        self._set(
            job_id,
            stage=_storable(progress.stage),
            done=min(progress.done, _MAX_NUMBER),
            total=min(progress.total, _MAX_NUMBER),
            unit=progress.unit.value,
            speed=progress.speed,
            updated_at=self.clock(),
        )

    def end(
        self,
        job_id: int,
        state: JobState,
        *,
        error: str | None = None,
        hint: str | None = None,
        result: str | None = None,
    ) -> None:
        self._set(
            job_id,
            state=state.value,
            error=_storable(error),
            hint=_storable(hint),
            result=_storable(result),
            ended_at=self.clock(),
            speed=None,
        )

    def ask_to_stop(self, job_id: int, *, stop: bool) -> None:
        self._set(job_id, stop_asked=stop)

    def set_detached(self, job_id: int, *, detached: bool) -> None:
        self._set(job_id, detached=detached)

    def is_asked_to_stop(self, job_id: int) -> bool:
        found = self.connection.execute("SELECT stop_asked FROM jobs WHERE id = ?", (job_id,))
        return bool((found.fetchone() or (0,))[0])

    def outdated(self, kept: int) -> list[int]:
        """All but the newest `kept` jobs that came to an end."""
        rows = self.connection.execute(
            "SELECT id FROM jobs WHERE state IN ('finished', 'cancelled', 'failed')"
            " ORDER BY id DESC LIMIT -1 OFFSET ?",
            (kept,),
        )
        return [int(job_id) for (job_id,) in rows]

    def delete(self, job_id: int) -> None:
        self.connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def lock_path(self, job_id: int) -> Path:
        return self.locks / f"{job_id}.lock"

    def _set(self, job_id: int, **values: object) -> None:
        columns = ", ".join(f"{column} = :{column}" for column in values)
        self.connection.execute(
            f"UPDATE jobs SET {columns} WHERE id = :job_id", {**values, "job_id": job_id}
        )

    def _select(self, where: str, *values: object) -> list[Job]:
        rows = self.connection.execute(f"{_SELECT} {where}", values).fetchall()
        return [self._job_now(row) for row in rows]

    def _job_now(self, row: tuple[Any, ...]) -> Job:
        job = self._job(row)
        if job.state is not JobState.INTERRUPTED:
            return job
        # It may have ended just now: its process says so before it lets go of the lock.
        row = self.connection.execute(f"{_SELECT} WHERE id = ?", (job.id,)).fetchone()
        return job if row is None else self._job(row)

    def _job(self, row: tuple[Any, ...]) -> Job:
        (job_id, kind, title, request, state, stage, done, total, unit, speed) = row[:10]
        (created, started, updated, ended, pid, agreed, detached, error, hint, result) = row[10:]
        try:
            return Job(
                id=int(job_id),
                kind=str(kind),
                title=str(title),
                request=str(request),
                state=self._state_now(int(job_id), JobState(state), float(updated)),
                progress=JobProgress(
                    str(stage), int(done), int(total), Unit(unit), speed and float(speed)
                ),
                created_at=float(created),
                started_at=started and float(started),
                updated_at=float(updated),
                ended_at=ended and float(ended),
                pid=pid and int(pid),
                agreed=bool(agreed),
                detached=bool(detached),
                error=error and str(error),
                hint=hint and str(hint),
                result=result and str(result),
            )
        except (TypeError, ValueError) as problem:
            raise damaged(
                self.database, msg("job {job_id!r}: {problem}", job_id=job_id, problem=problem)
            ) from problem

    def _state_now(self, job_id: int, noted: JobState, updated_at: float) -> JobState:
        """What the record says, unless the process it speaks of is gone."""
        if not noted.is_active or is_held(self.lock_path(job_id)):
            return noted
        if noted is JobState.QUEUED and 0 <= self.clock() - updated_at < _START_SECONDS:
            return noted
        return JobState.INTERRUPTED


def _storable(text: str | None) -> str | None:
    """Not too long, and valid: names of files may hold bytes that are no text."""
    return text and text[:_MAX_TEXT].encode("utf-8", "replace").decode()


def _key(draft: Draft) -> str:
    return sha256(f"{draft.kind}\0{draft.request}".encode()).hexdigest()
