"""Find models on the Hub."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from localq.errors import UsageError
from localq.events import Emit
from localq.hub.search import MAX_FOUND, FoundModel, SearchOrder, search_models
from localq.messages import msg

__all__ = ["FoundModel", "SearchOrder", "SearchRequest", "SearchResult", "search"]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """`words` are of a model's name; `gguf` leaves only repositories with GGUF files."""

    words: str
    gguf: bool = False
    order: SearchOrder = SearchOrder.DOWNLOADS
    limit: int = 20


@dataclass(frozen=True, slots=True)
class SearchResult:
    models: tuple[FoundModel, ...]


def search(request: SearchRequest, emit: Emit, cancel: threading.Event) -> SearchResult:
    """Ask the Hub for the models that match the words.

    UsageError for a limit it does not serve; OfflineError, HubError, Cancelled.
    """
    if not 1 <= request.limit <= MAX_FOUND:
        raise UsageError(
            msg("a search finds from 1 to {max_found} models", max_found=MAX_FOUND),
            hint=msg("--limit 20"),
        )
    models = search_models(
        request.words,
        gguf=request.gguf,
        order=request.order,
        limit=request.limit,
        emit=emit,
        cancel=cancel,
    )
    return SearchResult(models)
