"""A model loaded for vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from localq.events import Emit
from localq.library import Library
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.pool import HostedModel, ModelPool

__all__ = ["vector_engine"]


@contextmanager
def vector_engine(
    library: Library,
    name: str,
    plan_options: PlanOptions,
    emit: Emit,
    cancel: threading.Event,
    *,
    force: bool = False,
) -> Iterator[HostedModel]:
    """Load a model of the library, or a .gguf file, for the time of the block.

    NotFoundError, BadFileError, UsageError, UnsupportedError, EngineError, Cancelled. `force` loads
    what cannot fit or be told.
    """
    with (
        ModelPool(library, owner="embed") as pool,
        pool.acquire(
            name, plan_options, purpose="vectors", force=force, emit=emit, cancel=cancel
        ) as model,
    ):
        yield model
