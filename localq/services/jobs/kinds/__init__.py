"""The kinds of work that are jobs, a module each."""

from __future__ import annotations

from typing import Any, TypeAlias

from localq.errors import LibraryError
from localq.jobs import Draft, Job
from localq.jobs.request_json import decode, encode
from localq.library import Library
from localq.messages import msg
from localq.services.jobs.kind import JobKind
from localq.services.jobs.kinds.bench import BenchKind
from localq.services.jobs.kinds.convert import ConvertKind
from localq.services.jobs.kinds.evaluate import EvaluateKind
from localq.services.jobs.kinds.imatrix import ImatrixKind
from localq.services.jobs.kinds.import_models import ImportKind
from localq.services.jobs.kinds.pull import PullKind
from localq.services.jobs.kinds.pull_as import PullAsKind
from localq.services.jobs.kinds.quantize import QuantizeKind
from localq.services.jobs.kinds.tune import TuneKind
from localq.services.jobs.kinds.verify import VerifyKind

__all__ = ["KINDS", "Request", "draft_of", "kind_of", "request_of"]

Request: TypeAlias = Any
"""A request of one of the kinds."""

KINDS: tuple[JobKind[Any, Any], ...] = (
    PullKind(),
    PullAsKind(),
    QuantizeKind(),
    ConvertKind(),
    ImatrixKind(),
    ImportKind(),
    VerifyKind(),
    BenchKind(),
    TuneKind(),
    EvaluateKind(),
)


def kind_of(request: Request) -> JobKind[Any, Any]:
    """The kind whose request this is."""
    return next(kind for kind in KINDS if type(request) is kind.request)


def draft_of(library: Library, request: Request, *, agreed: bool = False) -> Draft:
    """The record of a request, so written that it means the same in any folder at any time."""
    kind = kind_of(request)
    settled = kind.settled(library, request)
    return Draft(kind.name, kind.title(settled), encode(settled), agreed)


def request_of(job: Job) -> Request:
    """What the job was asked to do; LibraryError where the record says nothing sensible."""
    kind = next((kind for kind in KINDS if kind.name == job.kind), None)
    if kind is None:
        raise LibraryError(
            msg(
                "job {id} is a {kind!r}, which this localq does not know", id=job.id, kind=job.kind
            ),
            hint=msg("pip install --upgrade localq"),
        )
    return decode(kind.request, job.request)
