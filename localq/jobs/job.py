"""What is known of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from localq.events import Unit

__all__ = ["Draft", "Job", "JobProgress", "JobState"]


class JobState(StrEnum):
    QUEUED = "queued"
    """Its process is about to begin."""
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its process is gone without a word: killed, or the machine went down."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    FINISHED = "finished"

    @property
    def is_active(self) -> bool:
        return self in (JobState.QUEUED, JobState.RUNNING)

    @property
    def is_resumable(self) -> bool:
        return self in (JobState.INTERRUPTED, JobState.CANCELLED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is not recorded yet.

    `request` is the request as JSON (`localq.jobs.request_json`), from which any later process
    can do the same again; `agreed` whether the user agreed beforehand to what it may ask.
    """

    kind: str
    title: str
    request: str
    agreed: bool = False


@dataclass(frozen=True, slots=True)
class JobProgress:
    """`done` of `total` `unit`s of the stage (`total` 0: not known); `speed` is per second."""

    stage: str = ""
    done: int = 0
    total: int = 0
    unit: Unit = Unit.BYTES
    speed: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the stage is done, at this speed."""
        if not self.speed or not self.total:
            return None
        return max(self.total - self.done, 0) / self.speed


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. Times are seconds since 1970; `result` names what was made."""

    id: int
    kind: str
    title: str
    request: str
    state: JobState
    progress: JobProgress
    created_at: float
    started_at: float | None
    updated_at: float
    ended_at: float | None
    pid: int | None
    agreed: bool
    detached: bool
    error: str | None
    hint: str | None
    result: str | None
