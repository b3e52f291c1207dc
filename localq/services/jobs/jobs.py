"""Jobs: do work under a record, see what became of it, stop it, go on with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from localq.errors import LocalqError, UsageError
from localq.events import Emit
from localq.jobs import Job, JobState, JobStore, Recorder
from localq.library import Library
from localq.messages import msg
from localq.paths import Paths
from localq.services.consent import Consent, refuse
from localq.services.jobs.kind import JobKind
from localq.services.jobs.kinds import draft_of, kind_of, request_of
from localq.services.jobs.partials import drop_partials

__all__ = [
    "Cleared",
    "cancel_job",
    "clear_jobs",
    "interrupted_jobs",
    "recorded",
    "resumable",
    "run_job",
]

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Cleared:
    """The jobs that were forgotten, and the bytes of half-made files that went with them."""

    job_ids: tuple[int, ...]
    freed_bytes: int


def recorded(
    kind: JobKind[Request, Result],
    library: Library,
    request: Request,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent = refuse,
    *,
    agreed: bool = False,
) -> Result:
    """Do what `request` asks for as a job of this process.

    `agreed` is whether `consent` will say yes to all. JobRunning where a job does the same
    already; what the work raises is raised.
    """
    try:
        draft = draft_of(library, request, agreed=agreed)
    except LocalqError:
        # A request that cannot be described cannot be met: it says why.
        return kind.work(library, request, emit, cancel, consent)
    with Recorder(JobStore(library.paths), draft, emit, cancel) as recorder:
        result = kind.work(library, request, recorder, cancel, consent)
        recorder.result = kind.made(result)
    return result


def run_job(
    library: Library,
    job_id: int,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
    *,
    detached: bool = False,
) -> Job:
    """Do what job `job_id` was asked to do, going on where it stopped; the job as it ended."""
    store = JobStore(library.paths)
    job, lock = store.take(job_id, detached=detached)
    with Recorder(store, (job_id, lock), emit, cancel) as recorder:
        request = request_of(job)
        kind = kind_of(request)
        recorder.result = kind.made(kind.work(library, request, recorder, cancel, consent))
    return store.job(job_id)


def resumable(paths: Paths, job_id: int) -> Job:
    """The job, if it can be gone on with; UsageError where it is running or done."""
    job = JobStore(paths).job(job_id)
    if job.state.is_active:
        raise UsageError(
            msg(
                "job {job_id} is {state}: {title}", job_id=job_id, state=job.state, title=job.title
            ),
            hint="localq jobs --watch",
        )
    if not job.state.is_resumable:
        raise UsageError(
            msg(
                "job {job_id} is {state}: {title}", job_id=job_id, state=job.state, title=job.title
            ),
            hint="localq jobs --all",
        )
    return job


def cancel_job(paths: Paths, job_id: int) -> Job:
    """Ask a job to stop; one that was interrupted just counts as cancelled from now on.

    A running job needs a moment to stop: look at its state. UsageError where it is over.
    """
    store = JobStore(paths)
    job = store.job(job_id)
    if job.state.is_active:
        store.ask_to_stop(job_id)
    elif job.state is JobState.INTERRUPTED:
        store.cancel_idle(job_id)
    else:
        raise UsageError(
            msg(
                "job {job_id} is {state} already: {title}",
                job_id=job_id,
                state=job.state,
                title=job.title,
            )
        )
    return store.job(job_id)


def interrupted_jobs(paths: Paths) -> list[Job]:
    """The jobs whose process went without a word."""
    return [job for job in JobStore(paths).jobs() if job.state is JobState.INTERRUPTED]


def clear_jobs(
    library: Library, job_ids: Sequence[int], *, every: bool = False, partials: bool = False
) -> Cleared:
    """Forget finished jobs; with `every` all that do not run, with `job_ids` just those.

    `partials` deletes what they left half-made, which `resume` would go on with, too. UsageError
    for a job that is running.
    """
    store = JobStore(library.paths)
    if job_ids:
        chosen = [store.job(job_id) for job_id in job_ids]
        for job in chosen:
            if job.state.is_active:
                raise UsageError(
                    msg(
                        "job {id} is {state}: {title}", id=job.id, state=job.state, title=job.title
                    ),
                    hint=msg("localq jobs cancel {id}", id=job.id),
                )
    else:
        chosen = [
            job
            for job in store.jobs()
            if job.state is JobState.FINISHED or (every and not job.state.is_active)
        ]
    freed = sum(drop_partials(library, request_of(job)) for job in chosen) if partials else 0
    return Cleared(tuple(store.forget(job.id for job in chosen)), freed)
