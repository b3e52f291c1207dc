"""A model in the hands of one who uses it, and what becomes of a request when its engine dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol, TypeVar

from localq.closing import Closing
from localq.engine.client import Engine, Generation, LoadedModel
from localq.engine.embedding_requests import Pooling
from localq.engine.embedding_result import Embedding, Input
from localq.engine.protocol import Pictures, TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, EngineClosed, EngineCrashed, EngineError, UnsupportedError
from localq.events import Emit, Note, ignore
from localq.library import Model
from localq.messages import msg
from localq.services.hosting.seat import Life, PooledModel, Seat

__all__ = ["HostedModel", "LoadCall", "SeatKeeper", "acquire_lock"]

_R = TypeVar("_R")
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LoadCall:
    """Who hears of a load that a request needs, who stops it, and how many seconds it may wait for
    memory that others are using."""

    emit: Emit = ignore
    cancel: threading.Event | None = None
    wait_seconds: float = 0.0


class SeatKeeper(Protocol):
    """What a hosted model needs of `localq.services.hosting.pool.ModelPool`."""

    def use(self, seat: Seat) -> AbstractContextManager[None]:
        """It is busy during the block."""

    def enter(self, seat: Seat, call: LoadCall) -> tuple[Life, bool]:
        """A process that has the model, which a request is given to now; whether it was loaded."""

    def leave(self, life: Life) -> None:
        """The request is done."""

    def crashed(self, seat: Seat, life: Life) -> int:
        """Its process has died; how many other requests it had."""

    def give_back(self, seat: Seat) -> None:
        """One fewer has it."""

    def status_of(self, seat: Seat) -> PooledModel: ...


class HostedModel(Closing):
    """A model that may be used until `close`, from any number of threads at once.

    As many requests are answered at the same time as the pool was made for (`n_seq_max`); further
    ones wait. Between requests it may be unloaded, to make room or because it was idle: the next
    request loads it again, unless it is within `in_use`.

    When the engine dies, a request that was alone in it fails with that one line. Of several, those
    that gave no text yet are done again one by one, so that only the one that brings the engine
    down fails; those that gave some fail and say so.
    """

    def __init__(self, keeper: SeatKeeper, seat: Seat, call: LoadCall) -> None:
        self.model: Model = seat.prepared.model
        self._keeper = keeper
        self._seat = seat
        self._call = call
        self._closed = False
        self._lock = threading.Lock()

    @property
    def loaded(self) -> LoadedModel:
        """What became of the last load. EngineError: it never was loaded."""
        if (loaded := self._seat.loaded) is None:
            raise EngineClosed(msg("no model is loaded"))
        return loaded

    @property
    def metadata(self) -> Mapping[str, object]:
        """Its file's."""
        return self._seat.prepared.metadata

    @property
    def can_see(self) -> bool:
        """Whether it reads pictures."""
        return self._seat.prepared.settings.projector is not None

    @property
    def status(self) -> PooledModel:
        return self._keeper.status_of(self._seat)

    def in_use(self) -> AbstractContextManager[None]:
        """It stays loaded during the block."""
        return self._keeper.use(self._seat)

    def revive(self, *, cancel: threading.Event | None = None) -> bool:
        """Load the model where it is not loaded any more; whether it had to be. EngineError."""
        if self._closed:
            return False
        with self.in_use():
            life, was_loaded = self._keeper.enter(self._seat, self._with(cancel))
            self._keeper.leave(life)
            return was_loaded

    def request(
        self,
        ask: Callable[[Engine], _R],
        *,
        cancel: threading.Event | None = None,
        streamed: Callable[[], bool] = lambda: False,
    ) -> _R:
        """What `ask` gives; it may be called again where the engine died, unless `streamed`."""
        call = self._with(cancel)
        again = False
        with ExitStack() as stack:
            stack.enter_context(self.in_use())
            while True:
                if self._closed:
                    raise EngineClosed(msg("no model is loaded"))
                life, _ = self._keeper.enter(self._seat, call)
                try:
                    return ask(life.engine)
                except (EngineCrashed, EngineClosed) as error:
                    if life.ended_by is not None:
                        raise EngineClosed(
                            msg(
                                "{name} was unloaded while it worked, by {who}",
                                name=self.model.name,
                                who=life.ended_by,
                            )
                        ) from error
                    company = self._keeper.crashed(self._seat, life)
                    if not company or again:
                        raise
                    if streamed():
                        raise self._cut_off(error, company) from error
                finally:
                    self._keeper.leave(life)
                again = True
                text = msg(
                    "the engine of {name} died with other requests in it; this one is done again",
                    name=self.model.name,
                )
                call.emit(Note(text, warning=True))
                acquire_lock(self._seat.one_by_one, cancel)
                stack.callback(self._seat.one_by_one.release)

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        pictures: Pictures | None = None,
    ) -> list[int]:
        """As `Engine.tokenize`. UnsupportedError for pictures where the model cannot see."""
        if pictures and pictures.files:
            self._check_sight()
        return self.request(
            lambda engine: engine.tokenize(
                text, add_special=add_special, parse_special=parse_special, pictures=pictures
            )
        )

    def _check_sight(self) -> None:
        if self.can_see:
            return
        repo, _, quant = self.model.name.partition(":")
        raise UnsupportedError(
            msg("{name} cannot see pictures: no projector is beside it", name=self.model.name),
            hint=msg("localq pull {repo}:{quant} --mmproj", repo=repo, quant=quant)
            if self._seat.prepared.is_in_library and self.model.source.repo
            else msg("put its mmproj*.gguf into the folder of {path}", path=self.model.path),
        )

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
        on_logprobs: Callable[[tuple[TokenLogprob, ...]], None] | None = None,
    ) -> Generation:
        """As `Engine.generate`."""
        streamed = False

        def text(piece: str) -> None:
            nonlocal streamed
            streamed = True
            on_text(piece)

        def logprobs(found: tuple[TokenLogprob, ...]) -> None:
            nonlocal streamed
            streamed = True
            if on_logprobs:
                on_logprobs(found)

        return self.request(
            lambda engine: engine.generate(
                prompt,
                sampling,
                pictures=pictures,
                cancel=cancel,
                on_text=text,
                on_logprobs=logprobs,
            ),
            cancel=cancel,
            streamed=lambda: streamed,
        )

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        pooling: Pooling | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
        cancel: threading.Event | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Embedding:
        """As `Engine.embed`; done again from the beginning where the engine died."""
        return self.request(
            lambda engine: engine.embed(
                inputs,
                pooling=pooling,
                normalize=normalize,
                dimensions=dimensions,
                truncate=truncate,
                cancel=cancel,
                on_progress=on_progress,
            ),
            cancel=cancel,
        )

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        truncate: bool = False,
        cancel: threading.Event | None = None,
    ) -> tuple[float, ...]:
        """As `Engine.rank`."""
        return self.request(
            lambda engine: engine.rank(query, documents, truncate=truncate, cancel=cancel),
            cancel=cancel,
        )

    def close(self) -> None:
        """Be done with it. Requests that run are answered; there can be no new ones. Works from
        any thread, and more than once."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._keeper.give_back(self._seat)

    def _with(self, cancel: threading.Event | None) -> LoadCall:
        return LoadCall(self._call.emit, cancel or self._call.cancel, self._call.wait_seconds)

    def _cut_off(self, error: EngineError, company: int) -> EngineError:
        return EngineCrashed(
            msg(
                "{message}; this reply is cut off, and which request did it is not known: others in"
                " the engine: {company}",
                message=error.message,
                company=company,
            ),
            hint=error.hint,
        )


def acquire_lock(lock: threading.Lock, cancel: threading.Event | None) -> None:
    """Wait for a lock, or until `cancel` is set: Cancelled then."""
    while not lock.acquire(timeout=_LOOK_SECONDS):
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped")
