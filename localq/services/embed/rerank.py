"""Documents in the order in which they answer a query."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from localq.errors import UsageError
from localq.events import Emit, Note, Started
from localq.library import Library
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.services.embed.vector_engine import vector_engine

__all__ = ["RankedDocument", "RerankRequest", "RerankResult", "rerank"]


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """`top`: only so many, the best; `truncate`: whether a document that is too long is cut at its
    end. UsageError where there is no document."""

    model: str
    query: str
    documents: tuple[str, ...]
    top: int | None = None
    truncate: bool = False
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    force: bool = False

    def __post_init__(self) -> None:
        if not self.documents:
            raise UsageError(
                msg("there is no document to rank"),
                hint=msg('localq rerank MODEL "a question" "a document" "another one"'),
            )


@dataclass(frozen=True, slots=True)
class RankedDocument:
    index: int
    """Its place among those that were given."""
    score: float
    """The model's own: higher is better."""
    document: str


@dataclass(frozen=True, slots=True)
class RerankResult:
    model: str
    results: tuple[RankedDocument, ...]
    """Best first."""


def rerank(
    library: Library, request: RerankRequest, emit: Emit, cancel: threading.Event
) -> RerankResult:
    """Load the model and rank the documents. UnsupportedError for a model that was not made for
    it; the rest as `vector_engine`."""
    with vector_engine(
        library, request.model, request.plan_options, emit, cancel, force=request.force
    ) as loaded:
        emit(Started(msg("ranking with {name}", name=loaded.model.name)))
        scores = loaded.rank(
            request.query, request.documents, truncate=request.truncate, cancel=cancel
        )
        if _tells_texts_apart(loaded.metadata):
            emit(
                Note(
                    msg(
                        "{name} was trained to tell query and document apart, which llama.cpp does"
                        " not do: its scores are not those of the published model",
                        name=loaded.model.name,
                    ),
                    warning=True,
                )
            )
    ranked = (
        RankedDocument(index, score, document)
        for index, (score, document) in enumerate(zip(scores, request.documents, strict=True))
    )
    best = sorted(ranked, key=lambda one: -one.score if one.score == one.score else inf)
    return RerankResult(loaded.model.name, tuple(best[: request.top]))


def _tells_texts_apart(metadata: Mapping[str, object]) -> bool:
    """Whether the model knows two kinds of text: llama.cpp's BERT reads all as the first."""
    count = metadata.get("tokenizer.ggml.token_type_count")
    return metadata.get("general.architecture") == "bert" and isinstance(count, int) and count > 1
