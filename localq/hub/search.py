"""Models on the Hub that match some words, as its API describes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from localq.display import short_count
from localq.errors import HubError
from localq.events import Emit
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.session import HubSession, Params
from localq.hub.spec import is_repo
from localq.messages import msg

__all__ = ["MAX_FOUND", "FoundModel", "SearchOrder", "search_models"]

MAX_FOUND = 1000
_MAX_PAGES = 20
_PAGE = 100
_MAX_WORDS = 200
_EXPAND = ("cardData", "downloads", "gated", "gguf", "lastModified", "likes", "safetensors", "tags")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SIZE = re.compile(
    r"(?<![A-Za-z0-9.])((?:[0-9]{1,2}x)?[0-9]{1,4}(?:\.[0-9]{1,3})?[BM])(?![A-Za-z])", re.I
)


class SearchOrder(StrEnum):
    """What comes first: the most downloaded (in 30 days), the most liked, the last changed."""

    DOWNLOADS = "downloads"
    LIKES = "likes"
    RECENT = "recent"


_SORT = {
    SearchOrder.DOWNLOADS: "downloads",
    SearchOrder.LIKES: "likes",
    SearchOrder.RECENT: "lastModified",
}


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A repository. Texts are its owner's; what the Hub does not say is None, "" or 0."""

    repo: str
    parameters: int | None
    """Of its safetensors or its GGUF file."""
    size_class: str
    """For people: "1.2B", "8x7B"; from the parameters, else from the name."""
    licence: str
    downloads: int
    """In the last 30 days."""
    likes: int
    gated: bool
    updated: str
    """The day of the last change, as 2026-01-31."""
    gguf: bool
    """It holds GGUF files."""


def search_models(
    words: str,
    *,
    gguf: bool,
    order: SearchOrder,
    limit: int,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
) -> tuple[FoundModel, ...]:
    """Ask the Hub; at most `limit` models, which is at most MAX_FOUND.

    Raises OfflineError, HubError, Cancelled.
    """
    session = HubSession.from_environment()
    backoff = Backoff(policy or RetryPolicy(), cancel, emit)
    params: Params = {
        "search": words[:_MAX_WORDS],
        "sort": _SORT[order],
        "limit": str(min(limit, _PAGE)),
        "expand": _EXPAND,
        **({"filter": "gguf"} if gguf else {}),
    }
    found: dict[str, FoundModel] = {}
    for _ in range(_MAX_PAGES):
        answer, following = session.patient_json("/api/models", session.asked(""), params, backoff)
        if not isinstance(answer, list):
            raise HubError(
                msg("{host} does not answer as a Hub does", host=session.host),
                hint=msg("check HF_ENDPOINT"),
            )
        for entry in answer:
            if (model := _model(entry)) is not None:
                found.setdefault(model.repo, model)
        if following is None or len(found) >= limit or not answer:
            break
        params = following
    return tuple(found.values())[: min(limit, MAX_FOUND)]


def size_class(parameters: int | None, repo: str) -> str:
    """ "1.2B" for 1,235,814,400 parameters; where their number is unknown, what the name says."""
    if parameters:
        return short_count(parameters)
    match = _SIZE.search(repo.partition("/")[2])
    return match[1][:-1].lower() + match[1][-1].upper() if match else ""


def _model(entry: object) -> FoundModel | None:
    """A model as the API describes it; None for what makes no sense or cannot be pulled."""
    if not isinstance(entry, dict):
        return None
    repo = entry.get("id")
    if not isinstance(repo, str) or not is_repo(repo):
        return None
    tags = [tag for tag in _list(entry.get("tags")) if isinstance(tag, str)]
    parameters = _number(_dict(entry.get("safetensors")).get("total")) or _number(
        _dict(entry.get("gguf")).get("total")
    )
    updated = _text(entry.get("lastModified"))[:10]
    return FoundModel(
        repo=repo,
        parameters=parameters or None,
        size_class=size_class(parameters, repo),
        licence=_licence(_dict(entry.get("cardData")), tags),
        downloads=_number(entry.get("downloads")),
        likes=_number(entry.get("likes")),
        gated=bool(entry.get("gated")),
        updated=updated if _DATE.fullmatch(updated) else "",
        gguf="gguf" in tags or bool(entry.get("gguf")),
    )


def _licence(card: Mapping[str, Any], tags: Sequence[str]) -> str:
    """The licence; "other" by the name its owner gives it."""
    said = card.get("license")
    licence = _text(said[0] if isinstance(said, list) and said else said)
    if licence in ("", "other"):
        licence = _text(card.get("license_name")) or licence
    tagged = (tag.removeprefix("license:") for tag in tags if tag.startswith("license:"))
    return (licence or next(tagged, ""))[:60]


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1 << 60 else 0


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
