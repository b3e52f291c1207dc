"""`localq ps`"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.display import byte_size, duration
from localq.messages import msg, translate
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.services.hosting.registry import WorkerRecord

__all__ = ["command", "document"]


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the models that are loaded now, by any localq of this home.

    `localq stop MODEL` unloads one.
    """
    from localq.services.hosting.stop import loaded_models

    workers = loaded_models(Paths.from_environment())
    if as_json:
        output.json_document([document(worker) for worker in workers])
    elif not workers:
        output.narrate(msg("no model is loaded"))
    else:
        _table(workers)


def document(worker: WorkerRecord) -> dict[str, Any]:
    """A worker as other programs read it: its memory by device."""
    shown: dict[str, Any] = output.to_json(worker)
    return {**shown, "memory": worker.footprint, "memory_bytes": worker.total}


def _table(workers: Sequence[WorkerRecord]) -> None:
    now = time.time()
    rows = [
        (
            worker.model,
            worker.owner,
            byte_size(worker.total) if worker.total else "",
            f"{worker.n_ctx:,}" if worker.n_ctx else "",
            _state(worker, now),
            _unloaded(worker, now),
            str(worker.owner_pid),
        )
        for worker in workers
    ]
    output.table(_HEADINGS, rows)


_HEADINGS = (
    msg("NAME"),
    msg("OWNER"),
    msg("SIZE"),
    msg("CONTEXT"),
    msg("STATE"),
    msg("UNLOADED"),
    msg("PROCESS"),
)


def _state(worker: WorkerRecord, now: float) -> str:
    from localq.services.hosting.registry import STATE_TEXTS

    state = translate(STATE_TEXTS[worker.state])
    if worker.state in ("busy", "idle"):
        return f"{state} {duration(now - worker.since)}"
    return state


def _unloaded(worker: WorkerRecord, now: float) -> str:
    if worker.pinned:
        return translate(msg("never"))
    if worker.unload_at is None:
        return ""
    return translate(msg("in {time}", time=duration(worker.unload_at - now)))
