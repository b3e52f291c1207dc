"""The kinds of work that are jobs: how each request is recorded, titled and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from localq.errors import LibraryError, NotFoundError
from localq.jobs import Draft, Job
from localq.jobs.request_json import decode, encode
from localq.library import Library, Model
from localq.library.names import looks_like_path
from localq.services.library.import_models import ImportRequest
from localq.services.make.convert import ConvertRequest
from localq.services.make.imatrix import ImatrixRequest
from localq.services.make.quantize import QuantizeRequest
from localq.services.pull.pull import PullRequest, choices, recipe_here
from localq.services.pull.stream import PullAsRequest

__all__ = ["Request", "draft_of", "request_of"]

Request: TypeAlias = (
    PullRequest | PullAsRequest | QuantizeRequest | ConvertRequest | ImatrixRequest | ImportRequest
)

_KINDS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "pull": PullRequest,
        "pull-as": PullAsRequest,
        "quantize": QuantizeRequest,
        "convert": ConvertRequest,
        "imatrix": ImatrixRequest,
        "import": ImportRequest,
    }
)


def draft_of(library: Library, request: Request, *, agreed: bool = False) -> Draft:
    """The record of a request, so written that it means the same in any folder at any time."""
    settled = _settled(library, request)
    kind = next(name for name, type_ in _KINDS.items() if type(request) is type_)
    return Draft(kind, _title(settled), encode(settled), agreed)


def request_of(job: Job) -> Request:
    """What the job was asked to do; LibraryError where the record says nothing sensible."""
    if job.kind not in _KINDS:
        raise LibraryError(
            f"job {job.id} is a {job.kind!r}, which this localq does not know",
            hint="pip install --upgrade localq",
        )
    return decode(_KINDS[job.kind], job.request)


def _settled(library: Library, request: Request) -> Request:
    match request:
        case PullRequest(spec=None) if recipe_here() is None and (offered := choices(library)):
            return replace(request, spec=offered[0].repo)
        case PullRequest(spec=None) if recipe := recipe_here():
            from localq.recipes import load_recipe

            loaded = load_recipe(recipe)
            revision = f"@{loaded.revision}" if loaded.revision else ""
            return replace(request, spec=loaded.repo + revision)
        case QuantizeRequest(model=model) | ConvertRequest(model=model):
            return replace(request, model=_full_name(library, model, library.find_checkpoint))
        case ImatrixRequest(model=model):
            return replace(
                request,
                model=_full_name(library, model, library.find_gguf),
                output=request.output or Path.cwd(),
            )
        case _:
            return request


def _full_name(
    library: Library, model: str | None, find: Callable[[str | None], Model]
) -> str | None:
    """The name in full, of the model used last where there is none, or the absolute path."""
    if model and (looks_like_path(model) or Path(model).exists()):
        return str(Path(model).expanduser().absolute())
    try:
        return find(model).name
    except NotFoundError:
        if model is None and (last := library.last_used()):
            return last.name
        return model


def _title(request: Request) -> str:
    match request:
        case PullRequest():
            return f"pull {request.spec or 'a model that fits'}"
        case PullAsRequest():
            return f"pull {request.spec} as {request.type.name}"
        case QuantizeRequest():
            return f"quantize {_short(request.model)} to {request.type.name}"
        case ConvertRequest():
            return f"convert {_short(request.model)}"
        case ImatrixRequest():
            return f"imatrix of {_short(request.model)}"
        case ImportRequest(tool=str(tool)):
            return f"import from {tool}"
        case ImportRequest(paths=paths):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            return f"import {paths[0].name if paths else 'nothing'}{more}"


def _short(model: str | None) -> str:
    return Path(model).name if model and looks_like_path(model) else str(model)
