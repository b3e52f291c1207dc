"""Texts as vectors."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localq.engine.embedding_requests import Pooling
from localq.engine.embedding_result import EmbeddedText
from localq.errors import UsageError
from localq.events import Emit, Progress, Started, Unit
from localq.library import Library
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.services.embed.vector_engine import vector_engine

__all__ = ["EmbedRequest", "EmbedResult", "embed"]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """`pooling`, `normalize`, `dimensions` and `truncate` as in `engine.embedding_requests.Embed`;
    `plan_options` go before what the plan would choose. UsageError where there is no text."""

    model: str
    texts: tuple[str, ...]
    pooling: Pooling | None = None
    normalize: bool | None = None
    dimensions: int | None = None
    truncate: bool = False
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    force: bool = False

    def __post_init__(self) -> None:
        if not self.texts:
            raise UsageError(
                msg("there is no text to embed"), hint=msg('localq embed MODEL "a text"')
            )


@dataclass(frozen=True, slots=True)
class EmbedResult:
    model: str
    pooling: Pooling
    width: int
    """Numbers in a vector."""
    texts: tuple[EmbeddedText, ...]


def embed(
    library: Library, request: EmbedRequest, emit: Emit, cancel: threading.Event
) -> EmbedResult:
    """Load the model and give the vectors of all texts. Emits Progress in texts.

    UsageError names a text that is empty or too long; the rest as `vector_engine`.
    """
    with vector_engine(
        library, request.model, request.plan_options, emit, cancel, force=request.force
    ) as loaded:
        count = len(request.texts)
        emit(Started(msg("embedding with {name}", name=loaded.model.name)))
        embedding = loaded.embed(
            request.texts,
            pooling=request.pooling,
            normalize=request.normalize,
            dimensions=request.dimensions,
            truncate=request.truncate,
            cancel=cancel,
            on_progress=lambda done: emit(Progress("embedding", done, count, Unit.TEXTS)),
        )
    return EmbedResult(loaded.model.name, embedding.pooling, embedding.width, embedding.texts)
