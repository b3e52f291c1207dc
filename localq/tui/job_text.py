"""How a job reads: its title, its state, how far it is."""

from __future__ import annotations

import re

from localq.display import byte_size, duration, printable
from localq.events import Unit
from localq.jobs import Job, JobProgress, JobState
from localq.messages import msg, translate
from localq.tui.text import tr

__all__ = ["MARKS", "amount", "bar", "job_title", "share", "state_name"]

MARKS = {
    JobState.QUEUED: "…",
    JobState.RUNNING: "▶",
    JobState.INTERRUPTED: "‖",
    JobState.CANCELLED: "■",
    JobState.FAILED: "✗",
    JobState.FINISHED: "✓",
}
_NAMES = {
    JobState.QUEUED: msg("starting"),
    JobState.RUNNING: msg("running"),
    JobState.INTERRUPTED: msg("interrupted"),
    JobState.CANCELLED: msg("stopped"),
    JobState.FAILED: msg("failed"),
    JobState.FINISHED: msg("finished"),
}
_BECOMES = re.compile(r" (?:to|as) (\S+)$")
_VERBS = {
    "pull": msg("pull {rest}", rest=""),
    "quantize": msg("quantize {rest}", rest=""),
    "imatrix": msg("imatrix {rest}", rest=""),
    "convert": msg("convert {rest}", rest=""),
    "import": msg("import {rest}", rest=""),
    "verify": msg("verify {rest}", rest=""),
    "bench": msg("bench {rest}", rest=""),
    "tune": msg("tune {rest}", rest=""),
}
"""The record keeps a title in English; its first word is the verb."""


def job_title(job: Job) -> str:
    verb, _, rest = printable(job.title).partition(" ")
    rest = _BECOMES.sub(r" → \1", rest)
    known = _VERBS.get(verb)
    return tr(known.template, rest=rest) if known is not None else f"{verb} {rest}".strip()


def state_name(state: JobState) -> str:
    return translate(_NAMES[state])


def share(progress: JobProgress) -> float | None:
    """How much of the stage is done, 0 to 1; None where nobody knows."""
    return min(progress.done / progress.total, 1.0) if progress.total else None


def bar(progress: JobProgress, width: int) -> str:
    """A bar and its per cent, in `width` + 6 cells."""
    done = share(progress)
    if done is None:
        return f"{'╌' * width}   … "
    full = round(done * width)
    return f"{'━' * full}{'╌' * (width - full)} {100 * done:3.0f} %"


def amount(progress: JobProgress, *, short: bool = False) -> str:
    """ "412 MB of 2.1 GB · 145 MB/s · 0:12 left"; `short`: without the amounts."""

    def count(value: float) -> str:
        if progress.unit is Unit.BYTES:
            return byte_size(value)
        return f"{value:,.0f} {progress.unit}"

    parts = []
    if not short:
        done = count(progress.done)
        parts.append(
            tr("{done} of {total}", done=done, total=count(progress.total))
            if progress.total
            else done
        )
    if progress.speed and progress.unit is not Unit.SECONDS:
        parts.append(f"{count(progress.speed)}/s")
    if (left := progress.seconds_left) is not None:
        parts.append(tr("{time} left", time=duration(left)))
    return " · ".join(parts)
