"""Who may use which loaded model, and until when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from localq.closing import Closing
from localq.engine.client import Engine, Generation, LoadedModel, LoadSettings
from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, LibraryError, LocalqError, StorageError
from localq.events import Emit, Note, Started, ignore
from localq.library import Library, Model
from localq.messages import msg
from localq.services.hosting.prepared import PreparedModel
from localq.services.machine.engine import warn_about_engine

__all__ = ["HostedModel", "ModelHost"]

_LOOK_SECONDS = 0.1


@dataclass(eq=False, slots=True)
class _Place:
    """An engine and how many use it. The lock is held while it loads."""

    engine: Engine
    loaded: LoadedModel | None = None
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class HostedModel(Closing):
    """A loaded model, for one user until `close`; others may use it meanwhile, by turns."""

    def __init__(
        self, model: Model, loaded: LoadedModel, engine: Engine, release: Callable[[], None]
    ) -> None:
        self.model = model
        self.loaded = loaded
        self._engine = engine
        self._release: Callable[[], None] | None = release
        self._lock = threading.Lock()

    def revive(self, *, cancel: threading.Event | None = None) -> bool:
        """As `Engine.revive`, until `close`."""
        return self._release is not None and self._engine.revive(cancel=cancel)

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """As `Engine.tokenize`."""
        return self._engine.tokenize(text, add_special=add_special, parse_special=parse_special)

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
    ) -> Generation:
        """As `Engine.generate`."""
        return self._engine.generate(prompt, sampling, cancel=cancel, on_text=on_text)

    def close(self) -> None:
        """Be done with it. With its last user the engine ends, even in the middle of its work,
        and gives its memory back. Works from any thread, and more than once."""
        with self._lock:
            release, self._release = self._release, None
        if release:
            release()


class ModelHost:
    """The models that are loaded. Whoever asks for one that is loaded so already shares it."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._places: dict[LoadSettings, _Place] = {}

    def open(
        self,
        prepared: PreparedModel,
        *,
        emit: Emit = ignore,
        cancel: threading.Event | None = None,
    ) -> HostedModel:
        """Load the model, unless it is, for a user who must close it. It is the one used last then.

        EngineError; Cancelled while it loads.
        """
        model, settings = prepared.model, prepared.settings
        with self._lock:
            place = self._places.get(settings)
            if place is None:
                place = _Place(Engine(log=self._library.paths.log / "engine.log"))
                self._places[settings] = place
            place.users += 1
        try:
            loaded = self._load(place, prepared, emit, cancel)
        except BaseException:
            self._leave(settings, place)
            raise
        return HostedModel(model, loaded, place.engine, lambda: self._leave(settings, place))

    def _load(
        self, place: _Place, prepared: PreparedModel, emit: Emit, cancel: threading.Event | None
    ) -> LoadedModel:
        while not place.lock.acquire(timeout=_LOOK_SECONDS):  # someone else loads it just now
            if cancel is not None and cancel.is_set():
                raise Cancelled
        try:
            if place.loaded is None or place.engine.pid is None:  # or its process died since
                emit(Started(msg("loading {name}", name=prepared.model.name)))
                warn_about_engine(self._library.paths, emit)
                place.loaded = place.engine.load(prepared.settings, cancel=cancel)
                problem = prepared.problem or place.engine.log_problem
                if problem := problem or self._keep_record(prepared, place.loaded):
                    emit(
                        Note(
                            msg("nothing is kept of this run: {problem}", problem=problem),
                            warning=True,
                        )
                    )
            elif _in_library(prepared.model):
                self._library.touch(prepared.model.name)
            return place.loaded
        finally:
            place.lock.release()

    def _leave(self, settings: LoadSettings, place: _Place) -> None:
        with self._lock:
            place.users -= 1
            if place.users:
                return
            if self._places.get(settings) is place:
                del self._places[settings]
        place.engine.close()

    def _keep_record(self, prepared: PreparedModel, loaded: LoadedModel) -> LocalqError | None:
        """Write down that the model was used, and what it took. Why not, where the library cannot
        be written: a full or read-only disk, or another program, is no reason not to talk."""
        from localq.services.machine.memory_ledger import record_load

        name, settings = prepared.model.name, prepared.settings
        if _in_library(prepared.model) and (problem := self._library.touch(name)):
            return problem
        try:
            if prepared.plan:
                record_load(self._library.paths, name, settings, prepared.plan.estimate, loaded)
        except (LibraryError, StorageError) as error:
            return error
        return None


def _in_library(model: Model) -> bool:
    """Whether it has a name there; a file given by its path is named after that."""
    return model.name != str(model.path)
