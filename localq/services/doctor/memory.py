"""Whether models take the memory that was predicted for them."""

from __future__ import annotations

from collections.abc import Iterator

from localq.events import Note
from localq.messages import msg
from localq.planning.memory_ledger import Drift
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.machine.memory_ledger import ledger

__all__ = ["drifted"]

_BELOW = -0.02
"""How far below the truth a prediction may be: what is promised of them."""
_NOISE = 64 << 20
"""Bytes that an engine's process differs by, whatever the model."""


def drifted(context: CheckContext) -> Iterator[Problem]:
    """Says how near predictions came, with the engine used last; finds it where one was too low."""
    books = ledger(context.library.paths)
    entries = books.entries()
    drift = books.drift(entries[0].engine) if entries else None
    if drift is None:
        return
    context.emit(Note(msg("memory, of {loads}: {words}", loads=_loads(drift), words=_words(drift))))
    worst = drift.worst
    if drift.lowest >= _BELOW or worst.measured.total - worst.predicted.total <= _NOISE:
        return
    yield Problem(
        msg(
            "models take more memory than is predicted for them with {engine}: {words};"
            " furthest below: {model}",
            engine=worst.engine,
            words=_words(drift),
            model=worst.model,
        ),
        msg(
            "plan with room to spare, such as with a smaller --ctx, and report it with"
            " the output of localq plan MODEL --json"
        ),
    )


def _loads(drift: Drift) -> str:
    return msg("{loads} load{word}", loads=drift.loads, word=("s" if drift.loads != 1 else ""))


def _words(drift: Drift) -> str:
    return msg(
        "predictions were {median:+.1%} off in the median, {lowest:+.1%} to {highest:+.1%}",
        median=drift.median,
        lowest=drift.lowest,
        highest=drift.highest,
    )
