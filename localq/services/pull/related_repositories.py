"""Ready-made GGUF files of a model, in repositories of those known for making them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from localq.errors import HubError, NotFoundError
from localq.events import ignore
from localq.hub.backoff import RetryPolicy
from localq.hub.choose_gguf import choose_gguf, gguf_quants
from localq.hub.source import RemoteFile
from localq.hub.spec import ModelSpec, is_repo

__all__ = ["RelatedSizes", "find_related", "quant_files", "quant_sizes", "total_bytes"]

_AT_ONCE = 6
_MOST_FILES, _MOST_QUANTS = 2000, 100
"""A repository may have any number of them, and names that mean nothing."""
_ONCE = RetryPolicy(retries=0)
_KNOWN = (
    "{owner}/{name}-GGUF",
    "ggml-org/{name}-GGUF",
    "unsloth/{name}-GGUF",
    "bartowski/{name}-GGUF",
    "bartowski/{owner}_{name}-GGUF",
    "lmstudio-community/{name}-GGUF",
)


@dataclass(frozen=True, slots=True)
class RelatedSizes:
    """A repository with GGUF files of the model; `sizes` are the bytes of each quantization."""

    repo: str
    sizes: Mapping[str, int]


def find_related(repo: str, cancel: threading.Event) -> tuple[RelatedSizes, ...]:
    """Look into the well-known places for OWNER/NAME, at once; one question for each that is not
    there, two for one that is. What cannot be reached or makes no sense is left out; Cancelled.
    """
    owner, _, name = repo.partition("/")
    places = (place.format(owner=owner, name=name) for place in _KNOWN)
    wanted = [place for place in dict.fromkeys(places) if is_repo(place)]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="related") as pool:
        found = list(pool.map(lambda place: _look(place, cancel), wanted))
    return tuple({related.repo: related for related in found if related}.values())


def quant_files(repo: str, files: Iterable[RemoteFile]) -> dict[str, tuple[RemoteFile, ...]]:
    """The quantizations that a repository has whole, and the files of each, the smallest first."""
    ggufs = [file for file in files if file.path.lower().endswith(".gguf")][:_MOST_FILES]
    found: dict[str, tuple[RemoteFile, ...]] = {}
    for quant in gguf_quants(ggufs)[:_MOST_QUANTS]:
        try:
            found[quant] = choose_gguf(ModelSpec(repo, quant=quant), ggufs).files
        except (HubError, NotFoundError):  # a part is missing
            continue
    return dict(sorted(found.items(), key=lambda item: total_bytes(item[1])))


def quant_sizes(repo: str, files: Iterable[RemoteFile]) -> dict[str, int]:
    """The bytes of each quantization that a repository has whole, the smallest first."""
    return {quant: total_bytes(chosen) for quant, chosen in quant_files(repo, files).items()}


def total_bytes(files: Iterable[RemoteFile]) -> int:
    return sum(file.size for file in files)


def _look(repo: str, cancel: threading.Event) -> RelatedSizes | None:
    from localq.hub.repository import HubSource

    try:
        source = HubSource.resolve(ModelSpec(repo), emit=ignore, cancel=cancel, policy=_ONCE)
    except (HubError, NotFoundError):
        return None
    sizes = quant_sizes(source.repo, source.files)
    return RelatedSizes(source.repo, sizes) if sizes else None
