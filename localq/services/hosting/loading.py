"""Loading a model: room is made for it first, and all of this machine's localq know of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from localq.engine.client import Engine
from localq.engine.settings import Purpose
from localq.errors import (
    Cancelled,
    EngineClosed,
    LibraryError,
    LocalqError,
    StorageError,
)
from localq.events import Note, Started
from localq.hardware.processes import process_start
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.planning.room import Tenant, make_room
from localq.services.hosting.budget import Budget, measure_budget
from localq.services.hosting.hosted import LoadCall
from localq.services.hosting.no_room import no_room
from localq.services.hosting.prepared import PreparedModel, prepare_found
from localq.services.hosting.registry import StopRequest, WorkerRecord, WorkerRegistry
from localq.services.hosting.seat import Life, Seat
from localq.services.hosting.settings import HostingSettings
from localq.services.hosting.stop import Answer, let_go
from localq.services.machine.engine import warn_about_engine
from localq.services.machine.plan import planning_profile

__all__ = ["Loader"]

_LOOK_SECONDS = 0.5
"""How often those are looked at who hold memory in other programs."""


class Loader:
    """Loads models for one pool. `changed` is the pool's lock, and told of all that happens;
    `seats` are its places, `unload` ends one that is not busy and says whether it could."""

    def __init__(
        self,
        library: Library,
        registry: WorkerRegistry,
        settings: HostingSettings,
        owner: str,
        *,
        n_seq_max: int,
        changed: threading.Condition,
        seats: Callable[[], Sequence[Seat]],
        unload: Callable[[Seat, str], bool],
        make_engine: Callable[[], Engine],
    ) -> None:
        self._library = library
        self._registry = registry
        self._settings = settings
        self._owner = owner
        self._n_seq_max = n_seq_max
        self._changed = changed
        self._seats = seats
        self._unload = unload
        self._make_engine = make_engine
        self._problem: StorageError | None = None
        """Why others cannot know of this program's models."""
        self._closed = False

    def close(self) -> None:
        """Load nothing more; what is being loaded, or waits for memory, ends with EngineClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def prepare(
        self,
        model: Model,
        plan_options: PlanOptions,
        *,
        purpose: Purpose,
        force: bool,
        cancel: threading.Event | None,
        besides: Seat | None = None,
    ) -> PreparedModel:
        """Plan a model with the memory that there is without those that can give way; where that
        is not enough, with what there is without all others, so that waiting for them helps.

        `besides`: the place it has itself. Errors as `prepare_model`'s.
        """
        records = self._records(besides)
        budget = self._measure(records, cancel)
        staying = [t for t in self._tenants(records) if not t.gives_way]
        profiles = [budget.without_all_but(staying)]
        if staying:
            profiles.append(budget.without_all_but(()))
        for_all = replace(plan_options, n_seq_max=self._n_seq_max)
        prepared = prepare_found(
            self._library, model, for_all, profiles, purpose=purpose, force=force
        )
        settings = replace(prepared.settings, n_seq_max=self._n_seq_max)
        return replace(prepared, settings=settings, plan_options=plan_options)

    def load(self, seat: Seat, call: LoadCall) -> Life:
        """A process that has the model, whatever has to give way to it. Whoever calls holds the
        seat's lock, and uses it. EngineError, EngineCrashed, Cancelled."""
        if not seat.planned:
            self._plan_again(seat, call)
        self._make_room(seat, call)
        engine = self._make_engine()
        with self._changed:
            self._refuse_closed()
            seat.starting, seat.planned = engine, False
        try:
            prepared = seat.prepared
            call.emit(Started(msg("loading {name}", name=prepared.model.name)))
            warn_about_engine(self._library.paths, call.emit)
            loaded = engine.load(prepared.settings, cancel=call.cancel)
            pid = engine.pid
            life = Life(engine, loaded, process_start(pid) if pid else None)
            problem = prepared.problem or engine.log_problem or self._problem
            if problem := problem or self._keep_record(prepared, life):
                text = msg("nothing is kept of this run: {problem}", problem=problem)
                call.emit(Note(text, warning=True))
            return life
        except BaseException:
            engine.close()
            raise
        finally:
            with self._changed:
                seat.starting = None

    def publish(self, seat: Seat) -> None:
        """Write down for other programs what the seat is now. The pool's lock is held."""
        gone = seat.id if seat.state == "unloaded" else None
        if gone is not None:
            seat.id = None
        elif seat.id is None and seat.state != "unloaded":
            seat.id = self._registry.new_id()
        if self._problem is None:
            try:
                if gone is not None:
                    self._registry.remove(gone)
                elif seat.id is not None:
                    self._registry.write(seat.record(self._owner))
            except StorageError as error:
                self._problem = error

    def _make_room(self, seat: Seat, call: LoadCall) -> None:
        """Let others give way until the seat's plan fits, and note that it is being loaded."""
        wanted: list[Seat] = []
        try:
            self._wait_for_room(seat, call, wanted)
        finally:
            with self._changed:
                for one in wanted:
                    one.wanted -= 1
                self._changed.notify_all()

    def _wait_for_room(self, seat: Seat, call: LoadCall, wanted: list[Seat]) -> None:
        """`wanted` gets the seats of this pool whose memory is waited for."""
        deadline = time.monotonic() + call.wait_seconds
        unwilling: set[str] = set()
        planned_again = told = False
        while True:
            self._refuse_closed()
            with self._nobody_else():
                records = self._records(seat)
                if not records or seat.prepared.plan is None:  # planned for just this, or untold
                    return self._begin(seat)
                tenants = [
                    replace(tenant, idle_since=None) if tenant.id in unwilling else tenant
                    for tenant in self._tenants(records)
                ]
                budget = self._measure(records, call.cancel)
                room = make_room(seat.prepared.footprint, budget.capacity, tenants)
                if not room.evict and (room.fits or seat.prepared.force):
                    return self._begin(seat)
            for id_ in room.evict:
                record = next(record for record in records if record.id == id_)
                if self._send_away(record, call):
                    text = msg("{model} was unloaded to make room", model=record.model)
                    call.emit(Note(text))
                else:
                    unwilling.add(id_)
            if room.evict:
                continue
            if not planned_again:  # with less, where that is possible; never fits: says why
                self._plan_again(seat, call)
                planned_again = True
                continue
            staying = [r for r in records if not _gives_way(r) or r.id in unwilling]
            if time.monotonic() >= deadline:
                raise no_room(seat.prepared.model.name, room.lacking, staying)
            with self._changed:
                self._want(staying, wanted)
            if not told:
                names = ", ".join(sorted({record.model for record in staying}))
                call.emit(Note(msg("waiting for memory that {names} takes", names=names)))
                told = True
            unwilling.clear()
            with self._changed:
                self._changed.wait(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            if call.cancel is not None and call.cancel.is_set():
                raise Cancelled("stopped")
            planned_again = False

    def _want(self, staying: Sequence[WorkerRecord], wanted: list[Seat]) -> None:
        ids = {record.id for record in staying if not record.pinned}
        for one in self._seats():
            if one.id in ids and one not in wanted:
                one.wanted += 1
                wanted.append(one)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise EngineClosed(msg("no model is loaded"))

    def _begin(self, seat: Seat) -> None:
        with self._changed:
            seat.state, seat.since, seat.id = "loading", time.time(), None
            self.publish(seat)

    def _plan_again(self, seat: Seat, call: LoadCall) -> None:
        """The memory there is may be another now; who has the model counts on its context."""
        prepared = seat.prepared
        options = prepared.plan_options
        if seat.loaded is not None:
            options = replace(options, n_ctx=seat.loaded.n_ctx)
        again = self.prepare(
            prepared.model,
            options,
            purpose=prepared.settings.purpose,
            force=prepared.force,
            cancel=call.cancel,
            besides=seat,
        )
        with self._changed:
            seat.prepared = replace(again, plan_options=prepared.plan_options)
            seat.planned = True

    def _measure(self, records: Sequence[WorkerRecord], cancel: threading.Event | None) -> Budget:
        return measure_budget(planning_profile(cancel), records, self._settings.memory_bytes)

    def _records(self, besides: Seat | None) -> list[WorkerRecord]:
        """All models that take memory, this pool's and others'."""
        others = () if self._problem else self._registry.records(others=True)
        with self._changed:
            ours = [
                seat.record(self._owner)
                for seat in self._seats()
                if seat is not besides and seat.holds_memory and seat.id is not None
            ]
        return [*ours, *(record for record in others if record.memory)]

    def _tenants(self, records: Sequence[WorkerRecord]) -> list[Tenant]:
        with self._changed:
            ours = {seat.id for seat in self._seats()}
        return [replace(record.tenant(), ours=record.id in ours) for record in records]

    def _send_away(self, record: WorkerRecord, call: LoadCall) -> bool:
        who = f"localq {self._owner} ({os.getpid()})"
        with self._changed:
            seat = next((seat for seat in self._seats() if seat.id == record.id), None)
        if seat is not None:
            return self._unload(seat, who)
        try:
            answer = let_go(self._registry, record, StopRequest(who), call.cancel)
        except StorageError:
            return False
        return answer is Answer.GONE

    @contextmanager
    def _nobody_else(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self._problem is None:
                try:
                    stack.enter_context(self._registry.alone())
                except StorageError as error:
                    self._problem = error
            yield

    def _keep_record(self, prepared: PreparedModel, life: Life) -> LocalqError | None:
        """Write down that the model was used, and what it took. Why not, where the library cannot
        be written: a full or read-only disk, or another program, is no reason not to talk."""
        from localq.services.machine.memory_ledger import record_load

        name, settings = prepared.model.name, prepared.settings
        if prepared.is_in_library and (problem := self._library.touch(name)):
            return problem
        try:
            if prepared.plan:
                paths = self._library.paths
                record_load(paths, name, settings, prepared.plan.estimate, life.loaded)
        except (LibraryError, StorageError) as error:
            return error
        return None


def _gives_way(record: WorkerRecord) -> bool:
    return record.tenant().gives_way
