"""Long work: begun in processes of its own, stopped, gone on with, and what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localq.jobs import Job
    from localq.library import Library

__all__ = ["JobServices"]

_LOG_BYTES = 1 << 16


class JobServices:
    def __init__(self, library: Library) -> None:
        self._library = library

    def start(self, request: Any, *, agreed: bool = False) -> Job:
        """Begin what a request of one of the kinds of jobs asks for; the job as it stands then."""
        from localq.services.jobs.detach import start_detached

        return start_detached(self._library, request, agreed=agreed)

    def cancel(self, job_id: int) -> Job:
        from localq.services.jobs.jobs import cancel_job

        return cancel_job(self._library.paths, job_id)

    def resume(self, job_id: int, *, anew: bool = False) -> Job:
        """Go on where it stopped; `anew`: what it left half-made is deleted first."""
        from localq.services.jobs.detach import resume_detached
        from localq.services.jobs.jobs import resumable
        from localq.services.jobs.kinds import request_of
        from localq.services.jobs.partials import drop_partials

        job = resumable(self._library.paths, job_id)
        request = request_of(job)
        if anew:
            drop_partials(self._library, request)
        return resume_detached(self._library, job, request)

    def clear(self, job_ids: tuple[int, ...] = ()) -> int:
        """Forget the finished jobs, or those named; how many."""
        from localq.services.jobs.jobs import clear_jobs

        return len(clear_jobs(self._library, job_ids).job_ids)

    def memory(self, jobs: Sequence[Job]) -> Mapping[int, int]:
        """The bytes that the process of each of these jobs holds, where the system tells."""
        from localq.engine.resident import resident_memory_of

        held = {job.id: resident_memory_of(job.pid) for job in jobs if job.pid is not None}
        return {job_id: size for job_id, size in held.items() if size is not None}

    def log(self, job_id: int) -> str:
        """The end of what the job's process said; "" where it said it to a terminal."""
        from localq.jobs import JobStore

        path = JobStore(self._library.paths).log(job_id)
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LOG_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
