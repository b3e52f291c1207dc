"""Convert a checkpoint to GGUF without quantizing it, by localq itself or by llama.cpp."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from localq.errors import UsageError, storage_errors
from localq.events import Emit
from localq.formats.types import QuantType
from localq.library import Library, Model
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.library.locate import locate_checkpoint, locate_convertible
from localq.services.make.destination import made_before, repo_of, require_space, target_of
from localq.services.make.lossless import LOSSLESS, convert_with_llama_cpp, own_type
from localq.services.make.making import enter_gguf
from localq.services.make.quantize import QuantizeRequest, QuantizeResult, quantize

__all__ = [
    "ConvertRequest",
    "ConvertWith",
    "convert",
]


class ConvertWith(StrEnum):
    """Whose converter does the work."""

    LOCALQ = "localq"
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """As QuantizeRequest; `type` None is the one that the checkpoint is in."""

    type: QuantType | None = None
    model: str | None = None
    output: Path | None = None
    force: bool = False
    converter: ConvertWith = ConvertWith.LOCALQ
    projector: bool = True


def convert(
    library: Library,
    request: ConvertRequest,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> QuantizeResult:
    """Write the GGUF and, unless it goes elsewhere, enter it into the library.

    llama.cpp's converter may have to be downloaded first: `consent` is shown what and how much,
    and no is Cancelled. Nothing half-made stays, whatever happens.
    """
    if request.converter is ConvertWith.LLAMA_CPP:
        return _with_llama_cpp(library, request, emit, cancel, consent)
    source = locate_checkpoint(library, request.model)
    type_ = request.type or own_type(source)
    if type_ not in LOSSLESS:
        raise UsageError(
            msg("convert does not quantize to {name}", name=type_.name),
            hint=msg(
                "localq quantize {name} {model}",
                name=type_.name.lower(),
                model=request.model or source.name,
            ),
        )
    native = QuantizeRequest(
        type_, request.model, request.output, request.force, projector=request.projector
    )
    return quantize(library, native, emit, cancel)


def _with_llama_cpp(
    library: Library,
    request: ConvertRequest,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> QuantizeResult:
    from localq.formats.gguf import read_gguf
    from localq.library.hashes import hash_file
    from localq.partials import finish, partial_path, sweep_partials

    began = time.monotonic()
    source = locate_convertible(library, request.model)
    type_ = request.type or own_type(source)
    repo = repo_of(source)
    target = target_of(library, source, type_, request.output, force=request.force)
    inside = request.output is None
    if inside and not request.force:
        made = made_before(
            library, repo, type_, emit, source=source.source, since=source.created_at
        )
        if made is not None:
            return QuantizeResult.of_made(made)

    if inside:
        library.trash.settle()  # what a killed removal left here is not to be written over
    with storage_errors(target):
        sweep_partials(target.parent)
        there = next(folder for folder in target.parents if folder.is_dir())
        require_space(there, _about_bytes(source, type_))
        partial = partial_path(target)
        try:
            convert_with_llama_cpp(library, source, type_, partial, emit, cancel, consent)
            file = read_gguf(partial)
            size = partial.stat().st_size
            sha256 = hash_file(partial, cancel) if inside else ""
            finish(partial, target, replace=request.force or inside)
        finally:
            partial.unlink(missing_ok=True)

    name = None
    if inside:
        name = enter_gguf(
            library,
            repo,
            type_,
            {target: sha256},
            architecture=file.architecture,
            parameters=file.parameters,
            source=source.source,
        ).name
    seconds = time.monotonic() - began
    return QuantizeResult(name, target, type_.name, size, file.parameters, seconds)


def _about_bytes(source: Model, type_: QuantType) -> int:
    """The size of the weights; norms and the like may be larger in F32, by next to nothing."""
    default = type_.default
    return source.parameters * default.block_bytes // default.block_elements
