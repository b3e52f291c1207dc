"""Long work as records: what was asked for, how far it is, and how it ended."""

from localq.jobs.book import JobBook, JobRunning
from localq.jobs.job import Draft, Job, JobProgress, JobState
from localq.jobs.recorder import Recorder
from localq.jobs.stop import Stop

__all__ = ["Draft", "Job", "JobBook", "JobProgress", "JobRunning", "JobState", "Recorder", "Stop"]
