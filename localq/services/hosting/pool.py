"""Several models, one budget: the models that a program has loaded, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from localq.closing import Closing
from localq.database import Database
from localq.engine.client import Engine
from localq.engine.settings import Purpose
from localq.errors import LibraryError, StorageError
from localq.events import Emit, ignore
from localq.library import Library, Model
from localq.planning.offload_plan import PlanOptions
from localq.planning.saved_settings import SavedPlanOptions, merged
from localq.services.hosting.hosted import HostedModel, LoadCall, acquire_lock
from localq.services.hosting.prepared import PreparedModel
from localq.services.hosting.seat import PooledModel, SeatKey
from localq.services.hosting.seats import Seats
from localq.services.hosting.settings import HostingSettings, hosting_settings
from localq.services.library.locate import locate_gguf

__all__ = ["HostedModel", "ModelPool", "PooledModel"]


class ModelPool(Closing):
    """Loads models on demand, keeps what fits, and lets the least recently used give way.

    For a request at a time, as a server does it; from any thread, and any number at once:

        with ModelPool(library, owner="serve", n_seq_max=8) as pool:
            with pool.acquire("qwen3:q4_k_m", cancel=gone, wait_seconds=60) as model:
                tokens = model.tokenize(text)
                model.generate(tokens, sampling, cancel=gone, on_text=send)

    Inside that block the model is busy: it is neither unloaded for others nor for being idle. For a
    conversation, which rests between its requests, there is `open`: what that returns may be
    unloaded meanwhile, and is loaded again with the next request. Models for `embed` and `rank` are
    asked for with `purpose="vectors"`; one that is loaded for text serves them too.

    The budget is the memory of each device, shared with every other localq of the same home. What
    never fits is refused with the reason. What fits only in place of others sends away the least
    recently used of those that are neither busy nor pinned, those of other programs last. Where
    only busy or pinned ones are in the way, it waits for them for `wait_seconds`, then is refused;
    who asks later for what is in the way, and may wait too, lets it go first.

    A process that dies is started again by the next request; three times in an hour, and the model
    is set aside: EngineError until `forgive`, or `localq stop`. See `HostedModel` for requests.

    `owner` is what `localq ps` calls this program; `emit` hears of what happens without a request:
    a model unloaded for being idle, or for others, or gone. `n_seq_max`: requests that a model
    answers at the same time; they share its context.
    """

    def __init__(
        self,
        library: Library,
        *,
        owner: str = "localq",
        n_seq_max: int = 1,
        settings: HostingSettings | None = None,
        emit: Emit = ignore,
        make_engine: Callable[[], Engine] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._library = library
        self._preparing = threading.Lock()
        self._seats = Seats(
            library,
            settings or hosting_settings(library.paths),
            owner=owner,
            n_seq_max=n_seq_max,
            emit=emit,
            make_engine=make_engine,
            clock=clock,
        )

    def prepare(
        self,
        model: str | None,
        plan_options: PlanOptions | None = None,
        *,
        purpose: Purpose = "text",
        force: bool = False,
        cancel: threading.Event | None = None,
    ) -> PreparedModel:
        """Find a model of the library, or a .gguf file, and plan it for the memory there is, unless
        the pool has it so already; None: the model used last. `purpose` "vectors" also takes one
        that writes no text, for `HostedModel.embed` and `rank`.

        Errors are those of `localq.services.hosting.prepared.prepare_model`.
        """
        found = locate_gguf(self._library, model)
        plan_options = self._with_saved(found, plan_options or PlanOptions())
        key = SeatKey.of(found, plan_options, purpose)
        acquire_lock(self._preparing, cancel)  # many may come for the same at once
        try:
            if prepared := self._seats.prepared(key):
                return prepared
            return self._seats.loader.prepare(
                found, plan_options, purpose=purpose, force=force, cancel=cancel
            )
        finally:
            self._preparing.release()

    def _with_saved(self, model: Model, plan_options: PlanOptions) -> PlanOptions:
        """With what was saved for the model, as far as it can be read: whatever changes there is
        heard by the next who asks."""
        with suppress(LibraryError, StorageError):
            saved = SavedPlanOptions(Database(self._library.paths.database)).of(model.name)
            return merged(plan_options, saved)
        return plan_options

    def open(
        self,
        prepared: PreparedModel,
        *,
        emit: Emit = ignore,
        cancel: threading.Event | None = None,
        wait_seconds: float = 0.0,
    ) -> HostedModel:
        """Load a model, unless it is, for one who uses it now and then and must close it.

        EngineError; Cancelled while it loads. `emit` hears of this load and of later ones.
        """
        hosted = self._seats.hosted(prepared, LoadCall(emit, None, wait_seconds))
        try:
            if not hosted.revive(cancel=cancel) and prepared.is_in_library:
                self._library.touch(prepared.model.name)
        except BaseException:
            hosted.close()
            raise
        return hosted

    @contextmanager
    def acquire(
        self,
        model: str | None,
        plan_options: PlanOptions | None = None,
        *,
        purpose: Purpose = "text",
        force: bool = False,
        emit: Emit = ignore,
        cancel: threading.Event | None = None,
        wait_seconds: float = 0.0,
    ) -> Iterator[HostedModel]:
        """A model that is loaded and stays so during the block. Errors as `prepare`'s and `open`'s;
        what the block raises comes out."""
        prepared = self.prepare(model, plan_options, purpose=purpose, force=force, cancel=cancel)
        with (
            self._seats.hosted(
                prepared, LoadCall(emit, cancel, wait_seconds), patient=True
            ) as hosted,
            hosted.in_use(),
        ):
            hosted.revive(cancel=cancel)
            yield hosted

    def models(self) -> tuple[PooledModel, ...]:
        """What the pool has now, the model used last first."""
        with self._seats.changed:
            found = [seat.status() for seat in self._seats.all() if seat.state != "unloaded"]
        return tuple(sorted(found, key=lambda model: -model.since))

    def pin(self, model: str, *, pinned: bool = True) -> None:
        """Keep a loaded model, whoever wants its memory; or not any longer. NotFoundError."""
        for seat in self._seats.named(model):
            seat.pinned = pinned
            self._seats.publish(seat)

    def keep(self, model: str, seconds: float | None) -> None:
        """How long a loaded model stays so unused, in place of what the settings say; None: until
        its memory is wanted. NotFoundError."""
        for seat in self._seats.named(model):
            seat.keep_seconds = seconds
            self._seats.publish(seat)

    def stop(self, model: str, *, force: bool = False, by: str = "localq") -> bool:
        """Unload a model; whether it is. A busy one only with `force`: its requests fail then. One
        that was set aside may be loaded again. NotFoundError."""
        unloaded = True
        for seat in self._seats.named(model):
            self._seats.forgive(seat)
            unloaded = self._seats.unload(seat, by, force=force) and unloaded
        return unloaded

    def forgive(self, model: str) -> None:
        """Load a model again that was set aside for its crashes. NotFoundError."""
        for seat in self._seats.named(model):
            self._seats.forgive(seat)

    def close(self) -> None:
        """Unload everything, in the middle of requests too. The pool can load no more then."""
        self._seats.close()
