"""The models that a server offers, by the names that its clients use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from localq.engine.settings import Purpose
from localq.errors import LibraryError, NotFoundError, UnsupportedError
from localq.events import Emit, ignore
from localq.library import Library, Model
from localq.library.names import looks_like_path
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.hosted import HostedModel
from localq.services.hosting.pool import ModelPool, PooledModel
from localq.services.library.locate import locate_gguf

__all__ = ["ServedModel", "ServedModels"]

_MAX_NAME = 512
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ServedModel:
    id: str
    """What clients call it."""
    target: str
    """What the pool calls it."""
    model: Model


class ServedModels:
    """Those of the library that can be run, and files that the user named when the server began.
    A client can name no other file: its names are looked for among these alone."""

    def __init__(
        self,
        library: Library,
        pool: ModelPool,
        named: Sequence[str] = (),
        *,
        plan_options: PlanOptions | None = None,
        wait_seconds: float = 60.0,
    ) -> None:
        """`named`: models, or .gguf files; the first is taken where a request names none.
        `wait_seconds`: how long a request waits for memory that others use. NotFoundError."""
        self._library = library
        self._pool = pool
        self._plan_options = plan_options or PlanOptions()
        self._wait_seconds = wait_seconds
        self._named = [_named(library, name) for name in named]

    @property
    def named(self) -> Sequence[ServedModel]:
        return self._named

    def listed(self) -> list[ServedModel]:
        """All of them, those named at the start first."""
        names = {one.id for one in self._named}
        others = [
            ServedModel(model.name, model.name, model)
            for model in self._library.models()
            if model.format.is_runnable and model.name not in names
        ]
        return [*self._named, *others]

    def find(self, name: str | None) -> ServedModel:
        """The model that a client's name means; None: the first that was named at the start, else
        the one used last. NotFoundError says what there is."""
        if name is None:
            if self._named:
                return self._named[0]
            model = self._library.find_gguf(None)
            return ServedModel(model.name, model.name, model)
        for one in self._named:
            if name.casefold() == one.id.casefold():
                return one
        if not name or len(name) > _MAX_NAME or not name.isprintable() or looks_like_path(name):
            raise self._unknown(name)
        try:
            model = self._library.find_gguf(name)
        except LibraryError:
            raise  # it may mean several: the message names them
        except NotFoundError:
            raise self._unknown(name) from None
        return ServedModel(model.name, model.name, model)

    @contextmanager
    def acquire(
        self,
        served: ServedModel,
        cancel: threading.Event,
        emit: Emit = ignore,
        *,
        any_kind: bool = False,
    ) -> Iterator[HostedModel]:
        """The model, loaded, for the time of the block; with `any_kind` also one that writes no
        text. Errors as `ModelPool.acquire`."""
        purpose: Purpose = "text"
        if any_kind:
            try:
                self._pool.prepare(served.target, self._plan_options, cancel=cancel)
            except UnsupportedError:
                purpose = "vectors"
        with self._pool.acquire(
            served.target,
            self._plan_options,
            purpose=purpose,
            cancel=cancel,
            emit=emit,
            wait_seconds=self._wait_seconds,
        ) as hosted:
            yield hosted

    def loaded(self) -> tuple[PooledModel, ...]:
        """What is loaded now."""
        return self._pool.models()

    def pin(self, served: ServedModel) -> None:
        """Keep a model that is loaded."""
        self._pool.pin(served.model.name)

    def _unknown(self, name: str) -> NotFoundError:
        there = [one.id for one in self.listed()]
        more = f", ... ({len(there)})" if len(there) > _SHOWN else ""
        return NotFoundError(
            msg("there is no model {name!r} here", name=name[:_MAX_NAME]),
            hint=msg(
                "one of: {names}", names=", ".join(there[:_SHOWN]) + more if there else "(none)"
            ),
        )


def _named(library: Library, name: str) -> ServedModel:
    model = locate_gguf(library, name)
    if model.name == str(model.path):  # a file that is in no library
        return ServedModel(model.path.stem, str(model.path), model)
    return ServedModel(model.name, model.name, model)
