"""Doing what a job was asked to, whatever kind it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from localq.events import Emit
from localq.hub.spec import parse_spec
from localq.library import Library
from localq.services.jobs.kinds import Request
from localq.services.library.import_models import ImportRequest, ImportResult, import_models
from localq.services.library.locate import locate_convertible, locate_gguf, locate_source
from localq.services.make.convert import ConvertRequest, ConvertWith, convert
from localq.services.make.destination import target_of
from localq.services.make.imatrix import ImatrixRequest, make_imatrix
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.pull import PullRequest, pull
from localq.services.pull.stream import PullAsRequest, pull_as

__all__ = ["Consent", "check", "may_ask", "names_of", "perform"]

Consent: TypeAlias = Callable[[str], bool]


def check(library: Library, request: Request) -> None:
    """Raise what can be known beforehand to go wrong, without a network or a look at weights."""
    match request:
        case PullRequest(spec=str(spec)) if spec.strip().casefold() != "demo":
            parse_spec(spec)
        case PullAsRequest(spec=spec):
            parse_spec(spec)
        case QuantizeRequest():
            locate = locate_convertible if request.with_llama_cpp else locate_source
            source = locate(library, request.model)
            target_of(library, source, request.type, request.output, force=request.force)
        case ConvertRequest():
            locate_convertible(library, request.model)
        case ImatrixRequest():
            locate_gguf(library, request.model)


def may_ask(request: Request) -> bool:
    """Whether the work may need someone's consent."""
    match request:
        case QuantizeRequest(with_llama_cpp=True) | ConvertRequest(converter=ConvertWith.LLAMA_CPP):
            return True
        case _:
            return False


def perform(
    library: Library, request: Request, emit: Emit, cancel: threading.Event, consent: Consent
) -> str:
    """Do the work; the name or path of what came out."""
    match request:
        case PullRequest():
            return pull(library, request, emit, cancel).model.name
        case PullAsRequest():
            return pull_as(library, request, emit, cancel).model.name
        case QuantizeRequest():
            made = quantize(library, request, emit, cancel, consent)
            return made.name or str(made.path)
        case ConvertRequest():
            made = convert(library, request, emit, cancel, consent)
            return made.name or str(made.path)
        case ImatrixRequest():
            return str(make_imatrix(library, request, emit, cancel).path)
        case ImportRequest():
            return names_of(import_models(library, request, emit, cancel))


def names_of(result: ImportResult) -> str:
    """What was taken in, in a few words."""
    names = [imported.model.name for imported in result.imported]
    return names[0] if len(names) == 1 else f"{len(names)} models"
