"""Jobs as a table: once, or redrawn until none runs any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from localq.cli import output
from localq.display import age, byte_size, duration
from localq.events import Unit
from localq.jobs import Job, JobState
from localq.messages import msg

__all__ = ["show_jobs", "watch_jobs"]

_REDRAW_SECONDS = 0.5
_HEADINGS = (
    msg("ID"),
    msg("JOB"),
    msg("STATE"),
    msg("PROGRESS"),
    msg("SPEED"),
    msg("LEFT"),
    msg("WHEN"),
)


def show_jobs(jobs: Sequence[Job]) -> None:
    """The table, and below it what can be done about jobs that did not finish."""
    if not jobs:
        output.narrate(msg("no jobs; localq jobs --all lists older ones"))
        return
    output.table(_HEADINGS, map(_row, jobs))
    for job in jobs:
        if job.state is JobState.FAILED and job.error:
            output.narrate(msg("job {id} failed: {error}", id=job.id, error=job.error))
            if job.hint:
                output.narrate(msg("  try: {hint}", hint=job.hint))
        elif job.state is JobState.INTERRUPTED:
            output.narrate(msg("go on with: localq jobs resume {id}", id=job.id))


def watch_jobs(look: Callable[[], Sequence[Job]], *, quiet: bool = False) -> None:
    """Return when no job runs any more; meanwhile, on a terminal, draw those that do.

    There Ctrl-C ends it too.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    jobs = look()
    if quiet or not sys.stdout.isatty():
        while _any_active(jobs):
            time.sleep(_REDRAW_SECONDS)
            jobs = look()
        return
    with (
        suppress(KeyboardInterrupt),  # who has seen enough stops looking; the jobs go on
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        while _any_active(jobs):
            active = [job for job in jobs if job.state.is_active]
            live.update(output.drawn(_HEADINGS, map(_row, active)), refresh=True)
            time.sleep(_REDRAW_SECONDS)
            jobs = look()


def _any_active(jobs: Sequence[Job]) -> bool:
    return any(job.state.is_active for job in jobs)


def _row(job: Job) -> tuple[str, ...]:
    progress, running = job.progress, job.state is JobState.RUNNING
    share = f"{100 * progress.done // progress.total} %" if progress.total else ""
    if running and progress.stage:
        share = f"{share} {progress.stage}".strip()
    left = progress.seconds_left if running else None
    when, now = job.ended_at or job.updated_at, time.time()
    started = msg("started {age}", age=age(job.started_at or when, now))
    return (
        str(job.id),
        job.title,
        job.state.value,
        "" if job.state is JobState.FINISHED else share,
        _speed(job) if running else "",
        "" if left is None else duration(left),
        started if running else age(when, now),
    )


def _speed(job: Job) -> str:
    speed = job.progress.speed
    if not speed:
        return ""
    if job.progress.unit is Unit.BYTES:
        return msg("{speed}/s", speed=byte_size(speed))
    return f"{speed:,.0f} {job.progress.unit.value}/s"
