"""Long work as records: what was asked for, how far it is, and how it ended."""

from localq.jobs.cancel_event import CancelEvent
from localq.jobs.job import Draft, Job, JobProgress, JobState
from localq.jobs.recorder import Recorder
from localq.jobs.store import JobRunning, JobStore

__all__ = [
    "Draft",
    "Job",
    "JobStore",
    "JobProgress",
    "JobRunning",
    "JobState",
    "Recorder",
    "CancelEvent",
]
