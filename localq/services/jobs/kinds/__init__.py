"""The kinds of work that are jobs, a module each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from localq.errors import LibraryError
from localq.jobs import Draft, Job
from localq.jobs.request_json import decode, encode
from localq.library import Library
from localq.messages import msg
from localq.services.jobs.kind import JobKind

__all__ = ["Request", "draft_of", "kind_of", "kinds", "request_of"]

Request: TypeAlias = Any
"""A request of one of the kinds."""

_PLACES: Mapping[str, tuple[str, str, str]] = {
    "pull": ("pull", "PullKind", "PullRequest"),
    "pull-as": ("pull_as", "PullAsKind", "PullAsRequest"),
    "quantize": ("quantize", "QuantizeKind", "QuantizeRequest"),
    "convert": ("convert", "ConvertKind", "ConvertRequest"),
    "imatrix": ("imatrix", "ImatrixKind", "ImatrixRequest"),
    "import": ("import_models", "ImportKind", "ImportRequest"),
    "backend-install": ("backend_install", "BackendInstallKind", "BackendInstallRequest"),
    "verify": ("verify", "VerifyKind", "VerifyRequest"),
    "bench": ("bench", "BenchKind", "BenchRequest"),
    "tune": ("tune", "TuneKind", "TuneRequest"),
    "int4": ("int4", "Int4Kind", "Int4Request"),
    "eval": ("evaluate", "EvaluateKind", "EvaluateRequest"),
    "recipe": ("recipe", "RecipeKind", "RecipeRequest"),
}
"""Name of a kind -> its module here, its class, and that of its requests. A module is imported when
a job of its kind is met: all of them would take a tenth of a second at the start of each job."""


def kinds() -> tuple[JobKind[Any, Any], ...]:
    """All of them."""
    return tuple(map(_kind, _PLACES))


@cache
def _kind(name: str) -> JobKind[Any, Any]:
    module, kind, _ = _PLACES[name]
    found: JobKind[Any, Any] = getattr(import_module(f"{__name__}.{module}"), kind)()
    return found


def kind_of(request: Request) -> JobKind[Any, Any]:
    """The kind whose request this is."""
    wanted = type(request).__name__
    return next(_kind(name) for name, (_, _, asked) in _PLACES.items() if asked == wanted)


def draft_of(library: Library, request: Request, *, agreed: bool = False) -> Draft:
    """The record of a request, so written that it means the same in any folder at any time."""
    kind = kind_of(request)
    settled = kind.settled(library, request)
    return Draft(kind.name, kind.title(settled), encode(settled), agreed)


def request_of(job: Job) -> Request:
    """What the job was asked to do; LibraryError where the record says nothing sensible."""
    if job.kind not in _PLACES:
        raise LibraryError(
            msg(
                "job {id} is a {kind!r}, which this localq does not know", id=job.id, kind=job.kind
            ),
            hint=msg("pip install --upgrade localq"),
        )
    return decode(_kind(job.kind).request, job.request)
