"""See which models are loaded on this machine, and unload them, whichever localq has them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from localq.errors import Cancelled, EngineError, NotFoundError
from localq.hardware.processes import kill_process
from localq.messages import listed, msg
from localq.paths import Paths
from localq.services.hosting.registry import StopRequest, WorkerRecord, WorkerRegistry

__all__ = ["Answer", "StopResult", "let_go", "loaded_models", "registry_of", "stop_models"]

_LOOK_SECONDS = 0.05
_ANSWER_SECONDS = 5.0
_UNLOAD_SECONDS = 20.0
"""An engine writes down what conversations had in memory before it ends."""


class Answer(StrEnum):
    """What came of asking a program to let go of a model."""

    GONE = "gone"
    IN_USE = "in use"
    STUCK = "stuck"
    """Nothing came of it."""


@dataclass(frozen=True, slots=True)
class StopResult:
    stopped: tuple[WorkerRecord, ...]


def registry_of(paths: Paths) -> WorkerRegistry:
    return WorkerRegistry(paths.cache / "workers")


def loaded_models(paths: Paths) -> tuple[WorkerRecord, ...]:
    """The models that programs of this home have loaded now, by name."""
    return registry_of(paths).records()


def stop_models(
    paths: Paths,
    names: Sequence[str],
    *,
    every: bool = False,
    force: bool = False,
    cancel: threading.Event | None = None,
) -> StopResult:
    """Unload models, whichever programs have them; those set aside may be loaded again then.

    A name is a model's, or as much of it as tells it apart from others, or a process number.
    NotFoundError; EngineError where one is being used, unless `force` is set: then those who use
    it are cut off. Cancelled while waiting.
    """
    registry = registry_of(paths)
    wanted = _named(registry.records(), names, every=every)
    request = StopRequest(f"localq stop ({os.getpid()})", force)
    stopped: list[WorkerRecord] = []
    refused: list[tuple[WorkerRecord, Answer]] = []
    for record in wanted:
        answer = let_go(registry, record, request, cancel)
        if answer is Answer.GONE:
            stopped.append(record)
        else:
            refused.append((record, answer))
    if refused:
        raise _refusal(refused)
    return StopResult(tuple(stopped))


def let_go(
    registry: WorkerRegistry,
    record: WorkerRecord,
    request: StopRequest,
    cancel: threading.Event | None = None,
) -> Answer:
    """Ask the program that has a model to unload it, and wait until its memory is free.

    Where the program does not answer at all (it may be stopped itself), the engine's process is
    ended, unless it works and `request` does not insist. Cancelled.
    """
    registry.ask_to_stop(record, request)
    asked = time.monotonic()
    while time.monotonic() - asked < _UNLOAD_SECONDS:
        if cancel is not None and cancel.is_set():
            registry.answered(record.id)
            raise Cancelled("stopped")
        unanswered = registry.is_asked_to_stop(record)  # before its record is looked at
        seen = registry.record(record.id)
        if seen is None:
            registry.answered(record.id)
            return Answer.GONE
        if not unanswered and seen.state != "unloading":
            return Answer.IN_USE
        if unanswered and time.monotonic() - asked > _ANSWER_SECONDS:
            registry.answered(record.id)
            if seen.state not in ("idle", "set aside") and not request.force:
                return Answer.IN_USE
            if seen.pid is not None and kill_process(seen.pid, seen.started):
                return Answer.GONE
            return Answer.STUCK
        time.sleep(_LOOK_SECONDS)
    return Answer.STUCK


def _named(
    records: Sequence[WorkerRecord], names: Sequence[str], *, every: bool
) -> list[WorkerRecord]:
    if every:
        return list(records)
    wanted: dict[str, WorkerRecord] = {}
    for name in names:
        found = _matching(records, name)
        models = sorted({record.model for record in found})
        if not found:
            raise NotFoundError(
                msg("no model {name!r} is loaded", name=name), hint=msg("localq ps lists them")
            )
        if len(models) > 1:
            raise NotFoundError(
                msg("{name!r} may be {models}", name=name, models=", ".join(models)),
                hint=msg("name one of them in full"),
            )
        wanted |= {record.id: record for record in found}
    return list(wanted.values())


def _matching(records: Sequence[WorkerRecord], name: str) -> list[WorkerRecord]:
    """By the whole name, the path or the process; else by a part of the name."""
    folded = name.casefold()
    whole = [
        record
        for record in records
        if folded == record.model.casefold()
        or name in (record.path, str(record.pid), str(record.owner_pid))
    ]
    return whole or [record for record in records if folded and folded in record.model.casefold()]


def _refusal(refused: Sequence[tuple[WorkerRecord, Answer]]) -> EngineError:
    named = listed(
        msg("{model} ({owner}, process {pid})", model=r.model, owner=r.owner, pid=r.owner_pid)
        for r, _ in refused
    )
    if all(answer is Answer.IN_USE for _, answer in refused):
        names = " ".join(sorted({record.model for record, _ in refused}))
        return EngineError(
            msg("in use just now: {named}", named=named),
            hint=msg(
                "wait until it is done, or cut it off with: localq stop --force {names}",
                names=names,
            ),
        )
    return EngineError(
        msg("not unloaded, its program does not answer: {named}", named=named),
        hint=msg("end that process"),
    )
