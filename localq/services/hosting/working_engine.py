"""An engine for work of its own (measuring, evaluating, an importance matrix): other programs see
it, its memory counts, and it can be stopped, as with the models of a pool."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from localq.engine.client import Engine
from localq.errors import EngineClosed, StorageError
from localq.events import Emit, Note
from localq.hardware.processes import process_start
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.offload_plan import OffloadPlan
from localq.planning.room import Footprint, make_room
from localq.services.hosting.budget import footprint_of, mapped_by, measure_budget
from localq.services.hosting.no_room import no_room
from localq.services.hosting.registry import (
    StopRequest,
    WorkerRecord,
    WorkerRegistry,
)
from localq.services.hosting.settings import hosting_settings
from localq.services.hosting.stop import Answer, let_go, registry_of
from localq.services.machine.engine import open_engine
from localq.services.machine.plan import planning_profile

__all__ = ["working_engine"]

_LOOK_SECONDS = 0.2


@contextmanager
def working_engine(
    library: Library,
    emit: Emit,
    *,
    owner: str,
    models: Sequence[Model],
    plans: Sequence[OffloadPlan],
    force: bool = False,
    cancel: threading.Event | None = None,
) -> Iterator[Engine]:
    """An engine for models that are loaded as planned, all of them at once. Idle models of other
    programs give way where there is no room beside them; `owner` is what `localq ps` calls this.

    EngineError: there is no room beside what is being used, unless `force` is set; EngineClosed in
    the middle of the block where someone insisted on the memory. Cancelled.
    """
    profile = planning_profile(cancel)
    footprint: dict[str, int] = {}
    for plan in plans:
        for device, size in footprint_of(plan, profile).items():
            footprint[device] = footprint.get(device, 0) + size
    name = ", ".join(model.name for model in models)
    registry = registry_of(library.paths)
    record = WorkerRecord(
        id=registry.new_id(),
        model=name,
        path=str(models[0].path),
        owner=owner,
        owner_pid=os.getpid(),
        state="loading",
        since=time.time(),
        n_ctx=plans[0].n_ctx if plans else 0,
        devices=tuple(footprint),
        memory=tuple(footprint.values()),
        mapped=sum(map(mapped_by, plans)),
    )
    try:
        try:
            _enter(library, registry, record, footprint, emit, force=force, cancel=cancel)
        except StorageError as error:  # others cannot know of it; that is no reason not to work
            emit(Note(error.message, warning=True))
        with open_engine(library.paths, emit) as engine:
            watch = _Watch(registry, record, engine)
            try:
                yield engine
            except EngineClosed:
                if watch.ended_by is None:
                    raise
                who = watch.ended_by
                raise EngineClosed(
                    msg("{name} was unloaded while it worked, by {who}", name=name, who=who)
                ) from None
            finally:
                watch.close()
    finally:
        registry.close()


def _enter(
    library: Library,
    registry: WorkerRegistry,
    record: WorkerRecord,
    footprint: Footprint,
    emit: Emit,
    *,
    force: bool,
    cancel: threading.Event | None,
) -> None:
    """Write the record once there is room."""
    limit = hosting_settings(library.paths).memory_bytes
    unwilling: set[str] = set()
    who = StopRequest(f"localq {record.owner} ({record.owner_pid})")
    while True:
        with registry.alone():
            records = [one for one in registry.records(others=True) if one.memory]
            tenants = [
                replace(one.tenant(), idle_since=None) if one.id in unwilling else one.tenant()
                for one in records
            ]
            budget = measure_budget(planning_profile(cancel), records, limit)
            room = make_room(footprint, budget.capacity, tenants)
            alone = not records and limit is None  # the plan was made for just this
            if alone or (not room.evict and (room.fits or force)):
                registry.write(record)
                return
        for id_ in room.evict:
            other = next(one for one in records if one.id == id_)
            if let_go(registry, other, who, cancel) is Answer.GONE:
                emit(Note(msg("{model} was unloaded to make room", model=other.model)))
            else:
                unwilling.add(id_)
        if not room.evict:
            raise no_room(record.model, room.lacking, records)


class _Watch:
    """Keeps the record true, and answers who wants the memory: it is being used, so only one who
    insists gets it."""

    def __init__(self, registry: WorkerRegistry, record: WorkerRecord, engine: Engine) -> None:
        self._registry = registry
        self._record = record
        self._engine = engine
        self._done = threading.Event()
        self.ended_by: str | None = None
        self._thread = threading.Thread(target=self._run, name="working engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            with suppress(StorageError):
                self._look()

    def _look(self) -> None:
        pid = self._engine.pid
        if pid is not None and pid != self._record.pid:
            self._record = replace(
                self._record,
                state="busy",
                since=time.time(),
                pid=pid,
                started=process_start(pid),
            )
            self._registry.write(self._record)
        request = self._registry.stop_request(self._record.id)
        if request is None:
            return
        if request.force:
            self.ended_by = request.by
            self._engine.close()
            self._registry.remove(self._record.id)
        self._registry.answered(self._record.id)
