"""`localq jobs` and its own verbs"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from localq.cli import output
from localq.cli.consent import consent_by
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.jobs_table import show_jobs, watch_jobs
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.jobs import Job, JobState, JobStore
from localq.library import Library
from localq.messages import msg
from localq.paths import Paths

__all__ = ["command", "report_detached"]

_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_LOG_BYTES = 1 << 20
_RECENT_SECONDS = 24 * 3600.0

_id = click.argument("job_id", metavar="ID", type=click.IntRange(1))
_detach = click.option("--detach", is_flag=True, help="Go on in the background.")


@click.group(
    invoke_without_command=True,
)
@click.option(
    "--all", "every", is_flag=True, help="Show those that finished more than a day ago, too."
)
@click.option("--watch", is_flag=True, help="Stay until no job runs any more.")
@json_option
@click.pass_context
def command(context: click.Context, every: bool, watch: bool, as_json: bool) -> None:
    """Pulls, quantizations and other long work, running and past.

    A job that was killed, or cut short by a reboot, is "interrupted" and can be resumed.
    """
    if context.invoked_subcommand is not None:
        return
    store = JobStore(Paths.from_environment())
    if watch:
        watch_jobs(lambda: _shown(store, every=every), quiet=as_json)
    jobs = _shown(store, every=every)
    if as_json:
        output.json_document([_document(job) for job in jobs])
    else:
        show_jobs(jobs)


@command.command(short_help="Ask a running job to stop.")
@_id
@json_option
def cancel(job_id: int, as_json: bool) -> None:
    """Ask a job to stop; what it has done is kept, and `jobs resume` goes on from there.

    One that was interrupted counts as cancelled from then on.
    """
    from localq.services.jobs.jobs import cancel_job

    paths = Paths.from_environment()
    job = cancel_job(paths, job_id)
    deadline = time.monotonic() + _STOP_SECONDS
    while job.state.is_active and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        job = JobStore(paths).job(job_id)
    if as_json:
        output.json_document(_document(job))
    elif job.state.is_active:
        output.narrate(
            msg(
                "job {job_id} will stop at the next chance: {title}", job_id=job_id, title=job.title
            )
        )
    else:
        output.narrate(
            msg("job {job_id} is {state}: {title}", job_id=job_id, state=job.state, title=job.title)
        )
        if job.state.is_resumable:
            output.narrate(msg("go on with: localq jobs resume {job_id}", job_id=job_id))


@command.command(short_help="Go on with a job where it stopped.")
@_id
@_detach
@json_option
def resume(job_id: int, detach: bool, as_json: bool) -> None:
    """Go on with a job that was interrupted, cancelled or failed, where it stopped.

    It does what it was first asked to, whatever the current folder is.
    """
    _again(job_id, detach=detach, as_json=as_json, anew=False)


@command.command(short_help="Do a job again, from the beginning.")
@_id
@_detach
@json_option
def retry(job_id: int, detach: bool, as_json: bool) -> None:
    """As resume, but from the beginning: what the job left half-made is deleted first."""
    _again(job_id, detach=detach, as_json=as_json, anew=True)


@command.command(short_help="Forget finished jobs, or those named.")
@click.argument("job_ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1))
@click.option("--all", "every", is_flag=True, help="All jobs that are not running.")
@click.option("--partials", is_flag=True, help="Delete what they left half-made, too.")
@json_option
def clear(job_ids: tuple[int, ...], every: bool, partials: bool, as_json: bool) -> None:
    """Forget jobs: the finished ones, those named, or all that are not running.

    The models they made stay. What an unfinished job left half-made stays too, for the same
    command to go on with, unless --partials is given.
    """
    from localq.services.jobs.jobs import clear_jobs

    with Library() as library:
        cleared = clear_jobs(library, job_ids, every=every, partials=partials)
    if as_json:
        output.json_document(cleared)
        return
    freed = (
        msg("; {freed_bytes} freed", freed_bytes=byte_size(cleared.freed_bytes)) if partials else ""
    )
    count = len(cleared.job_ids)
    output.narrate(
        msg(
            "{count} job{word} forgotten{freed}",
            count=count or "no",
            word=("" if count == 1 else "s"),
            freed=freed,
        )
    )


@command.command(short_help="What a background job has said.")
@_id
def log(job_id: int) -> None:
    """Print what a job that runs in the background has said."""
    store = JobStore(Paths.from_environment())
    job = store.job(job_id)
    path = store.log(job_id)
    if not path.is_file():
        output.narrate(msg("job {job_id} has no log: it ran in a terminal", job_id=job_id))
    else:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            for text in file.read().decode("utf-8", "replace").splitlines():
                output.line(text)
    if job.error:
        output.narrate(msg("it failed: {error}", error=job.error))


@command.command(hidden=True)
@_id
def run(job_id: int) -> None:
    """What the process of a job without a terminal does."""
    from localq.services.jobs.jobs import run_job

    agreed = JobStore(Paths.from_environment()).job(job_id).agreed
    with Library() as library, cancel_on_interrupt() as stop, ProgressDisplay() as emit:
        job = run_job(library, job_id, emit, stop, consent_by(yes=agreed), detached=True)
    output.line(job.result or "")


def report_detached(job: Job, *, as_json: bool) -> None:
    """Say which job does it now, and how to see how far it is."""
    if as_json:
        output.json_document(_document(job))
        return
    output.narrate(msg("job {id} does it in the background: {title}", id=job.id, title=job.title))
    output.narrate(msg("see how far it is with: localq jobs --watch"))
    output.line(str(job.id))


def _again(job_id: int, *, detach: bool, as_json: bool, anew: bool) -> None:
    from localq.services.jobs.detach import resume_detached
    from localq.services.jobs.jobs import resumable, run_job
    from localq.services.jobs.kinds import request_of
    from localq.services.jobs.partials import drop_partials

    with Library() as library:
        job = resumable(library.paths, job_id)
        if anew:
            drop_partials(library, request_of(job))
        if detach:
            report_detached(resume_detached(library, job, request_of(job)), as_json=as_json)
            return
        output.narrate(msg("job {job_id}: {title}", job_id=job_id, title=job.title))
        consent = consent_by(yes=job.agreed)
        with cancel_on_interrupt() as stop, ProgressDisplay() as emit:
            job = run_job(library, job_id, emit, stop, consent)
    if as_json:
        output.json_document(_document(job))
    else:
        output.line(job.result or "")


def _document(job: Job) -> dict[str, Any]:
    """The job with its request as JSON in JSON, not as a text of it."""
    try:
        request = json.loads(job.request)
    except ValueError:
        request = None
    return {**output.to_json(job), "request": request}


def _shown(store: JobStore, *, every: bool) -> list[Job]:
    earliest = time.time() - _RECENT_SECONDS
    return [
        job
        for job in store.jobs()
        if every or job.state is not JobState.FINISHED or (job.ended_at or 0) > earliest
    ]
