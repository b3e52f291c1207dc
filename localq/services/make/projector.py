"""The projector of a model that sees pictures: made with its language model, or alone."""

from __future__ import annotations

import filecmp
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import LibraryError, LocalqError, NotFoundError, UsageError
from localq.events import Emit, Note, Started
from localq.formats.types import QuantType
from localq.library import Library, Model
from localq.library.linking import hard_link
from localq.messages import msg
from localq.partials import finish, partial_path
from localq.services.library.locate import locate_checkpoint
from localq.services.library.projector import MARK, projector_path
from localq.services.make.destination import outside_file, repo_of
from localq.services.make.lossless import LOSSLESS
from localq.services.make.making import FileToMake, make_whole
from localq.services.make.quantize_request import QuantizeResult

if TYPE_CHECKING:
    from localq.convert import Checkpoint, ConvertedModel

__all__ = ["ProjectorRequest", "convert_projector_alone", "projector_with", "share_projector"]

_USUAL = QuantType.F16
"""What projectors are published in: small beside the model, and quick everywhere."""


@dataclass(frozen=True, slots=True)
class ProjectorRequest:
    """`model` is a checkpoint's name or folder; `type` None is F16; `output` a file outside the
    library (None: beside the models that were made of the checkpoint)."""

    model: str | None = None
    type: QuantType | None = None
    output: Path | None = None
    force: bool = False


def projector_with(
    checkpoint: Checkpoint, target: Path, *, new: bool
) -> tuple[FileToMake | None, str | None]:
    """The projector to be made with the model that goes to `target`, or why there is none.

    Both are None for a model that sees nothing. `new`: a file that is there already is in the way,
    LibraryError.
    """
    from localq.convert import convert_projector, sees_pictures

    if not sees_pictures(checkpoint.config):
        return None, None
    try:
        model = convert_projector(checkpoint)
    except LocalqError as error:
        return None, msg(
            "it will not see pictures, for its projector cannot be made: {message}",
            message=error.message,
        )
    path = projector_path(target, _USUAL.name)
    if new and path.exists():
        raise LibraryError(
            msg("{path}: is there already", path=path), hint=msg("replace it with --force")
        )
    return _file(path, model, _USUAL), next(iter(model.warnings), None)


def share_projector(path: Path) -> None:
    """Make a projector that was just written a second name of the same one beside it, where there
    is one: every type of a model has the same."""
    size = path.stat().st_size
    for other in sorted(path.parent.glob(f"*{MARK}*{path.suffix}")):
        same_size = other != path and other.stat().st_size == size
        if not same_size or not filecmp.cmp(other, path, shallow=False):
            continue
        partial = partial_path(path)
        if other.samefile(path) or not hard_link(other, partial):
            return
        finish(partial, path, replace=True)
        return


def convert_projector_alone(
    library: Library, request: ProjectorRequest, emit: Emit, cancel: threading.Event
) -> QuantizeResult:
    """Write the projector of a checkpoint; in the library each GGUF made of it that has none gets
    one.

    UnsupportedError, BadFileError where there is none to be made, NotFoundError where no GGUF of
    the checkpoint is there to go with it.
    """
    from localq.convert import convert_projector, open_checkpoint

    began = time.monotonic()
    source = locate_checkpoint(library, request.model)
    type_ = request.type or _USUAL
    if type_ not in LOSSLESS:
        raise UsageError(
            msg("a projector does not become {name}", name=type_.name),
            hint=msg("choose f16, bf16 or f32"),
        )
    name = repo_of(source).rpartition("/")[2]
    model = convert_projector(open_checkpoint(source.path, name=name))
    for warning in model.warnings:
        emit(Note(warning, warning=True))
    targets = _targets(library, source, name, type_, request)
    emit(Started(msg("the projector of {name} -> {name2}", name=source.name, name2=type_.name)))
    size = 0
    for target, owner in targets.items():
        file = _file(target, model, type_)
        size = file.layout.size_bytes
        sha256 = _write(library, file, emit, cancel, inside=owner is not None)
        if owner is not None:
            share_projector(target)
            library.add_file(owner, target, sha256)
    first = next(iter(targets))
    seconds = time.monotonic() - began
    return QuantizeResult(None, first, type_.name, size, model.parameters, seconds)


def _targets(
    library: Library, source: Model, name: str, type_: QuantType, request: ProjectorRequest
) -> dict[Path, Model | None]:
    """Each file to make, and the model of the library that it goes with."""
    if request.output is not None:
        target = outside_file(library, request.output, f"{name}{MARK}-{type_.name}.gguf")
        if target.exists() and not request.force:
            raise LibraryError(
                msg("{target}: is there already", target=target),
                hint=msg("replace it with --force"),
            )
        return {target: None}
    start = f"{repo_of(source)}:"
    made = [
        model
        for model in library.models()
        if model.format.is_runnable and not model.external and model.name.startswith(start)
    ]
    if not made:
        raise NotFoundError(
            msg("no GGUF of {name} is in the library for it to go with", name=source.name),
            hint=msg(
                "localq quantize q4_k_m {name} makes both; or write it elsewhere: -o FILE",
                name=request.model or source.name,
            ),
        )
    lacking = {
        projector_path(model.path, type_.name): model
        for model in made
        if request.force or not any(MARK in path.name for path in library.files(model))
    }
    if not lacking:
        raise LibraryError(
            msg("{name} has its projector already", name=made[0].name),
            hint=msg("make it anew with --force"),
        )
    return dict(lacking)


def _file(path: Path, model: ConvertedModel, type_: QuantType) -> FileToMake:
    from localq.quantize.blocks import source_files
    from localq.quantize.journal import layout_key
    from localq.quantize.layout import lay_out
    from localq.quantize.options import QuantOptions

    layout = lay_out(model.fields, model.tensors, QuantOptions(type_))
    return FileToMake(path, layout, layout_key(layout, source_files(layout)))


def _write(
    library: Library, file: FileToMake, emit: Emit, cancel: threading.Event, *, inside: bool
) -> str:
    from localq.hardware import cpu_threads
    from localq.quantize.writer import write_file

    with make_whole(library, [file], inside=inside, replace=True) as making:
        (one,) = making.files
        sha256 = write_file(
            *(one.partial, one.layout),
            threads=cpu_threads(),
            emit=emit,
            cancel=cancel,
            journal=one.journal,
            hashed=inside,
        )
        making.finish()
    return sha256 or ""
