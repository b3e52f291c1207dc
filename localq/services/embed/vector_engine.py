"""An engine with a model loaded for vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from localq.engine.client import Engine
from localq.errors import UnsupportedError
from localq.events import Emit, Started
from localq.formats.gguf import read_gguf
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.services.library.locate import locate_gguf
from localq.services.machine.engine import open_engine
from localq.services.machine.plan import (
    check_plan,
    load_settings,
    plan_gguf,
    unplanned_settings,
)

__all__ = ["VectorEngine", "vector_engine"]


@dataclass(frozen=True, slots=True)
class VectorEngine:
    """`metadata` is the file's."""

    model: Model
    metadata: Mapping[str, object]
    engine: Engine


@contextmanager
def vector_engine(
    library: Library,
    name: str,
    plan_options: PlanOptions,
    emit: Emit,
    cancel: threading.Event,
    *,
    force: bool = False,
) -> Iterator[VectorEngine]:
    """Load a model of the library, or a .gguf file, for the time of the block.

    NotFoundError, BadFileError, UsageError, UnsupportedError, EngineError, Cancelled. `force` loads
    what cannot fit or be told.
    """
    model = locate_gguf(library, name)
    file = read_gguf(model.path)
    try:
        planned = plan_gguf(library, model, file, plan_options, cancel=cancel)
    except UnsupportedError:
        if not force:
            raise
        settings = unplanned_settings(model.path, plan_options)
    else:
        if not force:
            check_plan(planned)
        settings = load_settings(model.path, planned.plan)
    emit(Started(msg("loading {name}", name=model.name)))
    with open_engine(library.paths, emit) as engine:
        engine.load(replace(settings, purpose="vectors"), cancel=cancel)
        yield VectorEngine(model, file.metadata, engine)
