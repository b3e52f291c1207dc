"""The places of a pool's models: used, loaded, unloaded, and watched between requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from localq.engine.client import Engine
from localq.errors import Cancelled, EngineClosed, EngineCrashed, EngineError, NotFoundError
from localq.events import Emit, Note, ignore
from localq.library import Library
from localq.messages import msg
from localq.services.hosting.hosted import HostedModel, LoadCall, acquire_lock
from localq.services.hosting.loading import Loader
from localq.services.hosting.prepared import PreparedModel
from localq.services.hosting.registry import WorkerRegistry
from localq.services.hosting.seat import Life, PooledModel, Seat, SeatKey, SeatState
from localq.services.hosting.settings import HostingSettings
from localq.services.hosting.stop import registry_of

__all__ = ["Seats"]

_CRASHES = 3
_CRASH_SECONDS = 3600.0
"""So many crashes within that time set a model aside."""
_WATCH_SECONDS = 0.5
"""How late may be heard what other programs ask for."""


class Seats:
    """What `ModelPool` stands on; its arguments are described there. `changed` is the lock under
    which seats change, and told of each change."""

    def __init__(
        self,
        library: Library,
        settings: HostingSettings,
        *,
        owner: str,
        n_seq_max: int = 1,
        emit: Emit = ignore,
        make_engine: Callable[[], Engine] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._settings = settings
        self._log = library.paths.log / "engine.log"
        self._emit = emit
        self._clock = clock
        self._seats: dict[SeatKey, Seat] = {}
        self._closed = False
        self._watcher: threading.Thread | None = None
        self._registry: WorkerRegistry = registry_of(library.paths)
        self.loader = Loader(
            library,
            self._registry,
            settings,
            owner,
            n_seq_max=n_seq_max,
            changed=self.changed,
            seats=self.all,
            unload=self.unload,
            make_engine=make_engine or (lambda: Engine(log=self._log)),
        )

    def all(self) -> list[Seat]:
        with self.changed:
            return list(self._seats.values())

    def prepared(self, key: SeatKey) -> PreparedModel | None:
        """The plan of a model that is loaded, or is about to be. One that writes text gives vectors
        too."""
        with self.changed:
            for one in (key, replace(key, purpose="text")):
                seat = self._seats.get(one)
                if seat is not None and (seat.life is not None or seat.queued):
                    return seat.prepared
        return None

    def named(self, model: str) -> list[Seat]:
        """Those that are loaded, or set aside, by name or path. NotFoundError."""
        folded = model.casefold()
        found = [
            seat
            for seat in self.all()
            if seat.state != "unloaded"
            and (seat.key.path == model or seat.name.casefold() == folded)
        ]
        if not found:
            raise NotFoundError(
                msg("no model {name!r} is loaded", name=model), hint=msg("localq ps lists them")
            )
        return found

    @contextmanager
    def use(self, seat: Seat) -> Iterator[None]:
        """As `SeatKeeper.use`."""
        with self.changed:
            seat.users += 1
            if seat.state == "idle":
                self._become(seat, "busy")
        try:
            yield
        finally:
            with self.changed:
                seat.users -= 1
                if not seat.users and seat.state == "busy":
                    self._become(seat, "idle")

    def let_others_first(self, seat: Seat, call: LoadCall) -> None:
        """Whoever waits for the model's memory would wait for ever if there were always somebody
        new to use it. Cancelled."""
        deadline = time.monotonic() + call.wait_seconds
        with self.changed:
            while seat.wanted and not self._closed and (left := deadline - time.monotonic()) > 0:
                self.changed.wait(min(_WATCH_SECONDS, left))
                if call.cancel is not None and call.cancel.is_set():
                    raise Cancelled("stopped")

    def enter(self, seat: Seat, call: LoadCall) -> tuple[Life, bool]:
        """As `SeatKeeper.enter`. EngineError where the model is set aside, or cannot be loaded."""
        with self.changed:
            seat.queued += 1
        try:
            was_loaded = False
            while (life := self._entered(seat)) is None:
                acquire_lock(seat.lock, call.cancel)
                try:
                    if seat.life is None:
                        self._load(seat, call)
                        was_loaded = True
                finally:
                    seat.lock.release()
            return life, was_loaded
        finally:
            with self.changed:
                seat.queued -= 1

    def _entered(self, seat: Seat) -> Life | None:
        """The process, with one request more; None: it has to be loaded."""
        with self.changed:
            if self._closed:
                raise EngineClosed(msg("no model is loaded"))
            if seat.state == "set aside":
                raise self._aside(seat)
            life = seat.life
            if life is not None and life.engine.is_alive:
                life.in_flight += 1
                return life
        if life is not None:
            self.crashed(seat, life)
        return None

    def leave(self, life: Life) -> None:
        """As `SeatKeeper.leave`."""
        with self.changed:
            life.in_flight -= 1

    def crashed(self, seat: Seat, life: Life) -> int:
        """As `SeatKeeper.crashed`; whoever is first to tell decides."""
        with self.changed:
            if life.company is None:
                life.company = max(0, life.in_flight - 1)
                if seat.life is life:
                    seat.life = None
                    self._count_crash(seat)
            company, idle = life.company, not life.in_flight
        if idle:  # else whoever is in it hears of it
            life.engine.close()
        return company

    def give_back(self, seat: Seat) -> None:
        """As `SeatKeeper.give_back`."""
        with self.changed:
            seat.holders -= 1
            self._forget_if_empty(seat)
            self.changed.notify_all()

    def status_of(self, seat: Seat) -> PooledModel:
        """As `SeatKeeper.status_of`."""
        with self.changed:
            return seat.status()

    def hosted(
        self, prepared: PreparedModel, call: LoadCall, *, patient: bool = False
    ) -> HostedModel:
        """One more has the model, in a place that is made for it where there is none; `patient`:
        after those who wait for its memory."""
        key = SeatKey.of(prepared.model, prepared.plan_options, prepared.settings.purpose)
        with self.changed:
            seat = self._seats.get(key)
            if seat is None:
                seat = Seat(key, prepared, self._settings.idle_seconds)
                self._seats[key] = seat
            elif seat.life is None and not seat.lock.locked():
                seat.prepared, seat.planned = prepared, True
            seat.holders += 1
        hosted = HostedModel(self, seat, call)
        if patient:
            try:
                self.let_others_first(seat, call)
            except BaseException:
                hosted.close()
                raise
        return hosted

    def forgive(self, seat: Seat) -> None:
        """Forget its crashes; if it was set aside for them, it may be loaded again."""
        with self.changed:
            seat.crashes.clear()
            if seat.state == "set aside":
                self._become(seat, "unloaded")

    def publish(self, seat: Seat) -> None:
        """Tell other programs, and whoever waits, that it has changed."""
        with self.changed:
            self.loader.publish(seat)
            self.changed.notify_all()

    def close(self) -> None:
        """Unload everything, in the middle of requests too."""
        with self.changed:
            self._closed = True
            self.loader.close()
        for seat in self.all():
            self.unload(seat, "localq", force=True)
        self._registry.close()

    def _load(self, seat: Seat, call: LoadCall) -> None:
        """The seat's lock is held, and it is in use."""
        self._watch()
        try:
            life = self.loader.load(seat, call)
        except BaseException as error:
            with self.changed:
                if isinstance(error, EngineCrashed):
                    self._count_crash(seat)
                elif seat.state != "unloaded":
                    self._become(seat, "unloaded")
            raise
        with self.changed:
            seat.life, seat.loaded = life, life.loaded
            self._become(seat, "busy")
            closed = self._closed
        if closed:  # meanwhile
            self._end(seat, life, "localq")
            raise EngineClosed(msg("no model is loaded"))

    def unload(self, seat: Seat, by: str, *, force: bool = False) -> bool:
        """End its process, unless it is in use; whether there is none any more."""
        with self.changed:
            if force and seat.starting is not None:
                seat.starting.close()
            if seat.users and not force:
                return False
        if not seat.lock.acquire(blocking=force):
            return False
        try:
            with self.changed:
                if seat.users and not force:
                    return False
                life = seat.life
            if life is not None:
                self._end(seat, life, by)
            return True
        finally:
            seat.lock.release()

    def _end(self, seat: Seat, life: Life, by: str) -> None:
        with self.changed:
            life.ended_by = by
            seat.life = None
            self._become(seat, "unloading")
            if seat.id is not None:
                self._registry.answered(seat.id)
        life.engine.close()
        with self.changed:
            self._become(seat, "unloaded")

    def _become(self, seat: Seat, state: SeatState) -> None:
        """The pool's lock is held."""
        seat.state, seat.since = state, self._clock()
        self.loader.publish(seat)
        self._forget_if_empty(seat)
        self.changed.notify_all()

    def _forget_if_empty(self, seat: Seat) -> None:
        if seat.state == "unloaded" and not seat.holders and not seat.crashes:
            self._seats.pop(seat.key, None)

    def _count_crash(self, seat: Seat) -> None:
        now = self._clock()
        seat.crashes[:] = [then for then in seat.crashes if now - then < _CRASH_SECONDS] + [now]
        self._become(seat, "set aside" if len(seat.crashes) >= _CRASHES else "unloaded")

    def _aside(self, seat: Seat) -> EngineError:
        return EngineError(
            msg(
                "{name} is set aside: its engine has crashed {crashes} times",
                name=seat.name,
                crashes=len(seat.crashes),
            ),
            hint=msg(
                "look into {log}; to try it again: localq stop {name}",
                log=self._log,
                name=seat.name,
            ),
        )

    def _watch(self) -> None:
        with self.changed:
            if self._watcher is None and not self._closed:
                self._watcher = threading.Thread(
                    target=self._keep_watch, name="model pool", daemon=True
                )
                self._watcher.start()

    def _keep_watch(self) -> None:
        while True:
            with self.changed:
                deadlines = [seat.unload_at for seat in self._seats.values()]
                now = self._clock()
                left = [max(0.0, at - now) for at in deadlines if at is not None]
                self.changed.wait(min(_WATCH_SECONDS, *left, _WATCH_SECONDS))
                if self._closed:
                    return
                seats = list(self._seats.values())
            for seat in seats:
                self.look_after(seat)

    def look_after(self, seat: Seat) -> None:
        """Do what is due: answer who asks for its memory, unload it where it was idle for long
        enough, notice that its process has died."""
        with self.changed:
            life, id_, unload_at = seat.life, seat.id, seat.unload_at
            died = life is not None and seat.state == "idle" and not life.engine.is_alive
        if died and life is not None:
            self._emit(Note(msg("the engine of {name} has died", name=seat.name), warning=True))
            self.crashed(seat, life)
            return
        request = self._registry.stop_request(id_) if id_ is not None else None
        if request is not None and id_ is not None:
            if seat.state == "set aside":
                self.forgive(seat)
            elif self.unload(seat, request.by, force=request.force):
                text = msg("{name} was unloaded by {who}", name=seat.name, who=request.by)
                self._emit(Note(text))
            self._registry.answered(id_)
        elif unload_at is not None and self._clock() >= unload_at and self.unload(seat, "localq"):
            self._emit(Note(msg("{name} was unloaded, unused for a while", name=seat.name)))
