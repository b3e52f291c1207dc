"""Convert and quantize a checkpoint in one pass."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from localq.errors import LibraryError, StorageError, UsageError, storage_errors
from localq.events import Emit, Note, Started
from localq.formats.types import QuantType
from localq.library import Library, Model, ModelFormat
from localq.services.locate import locate_checkpoint

__all__ = ["QuantizeRequest", "QuantizeResult", "quantize"]

_LOCAL_ORGANISATION = "local"
"""Stands for the organisation in the name of what was made from a folder on disk."""


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """`model` is a name or a checkpoint folder (None: the model used last); `output` a file
    outside the library (None: into the library); `force` replaces a file that is there."""

    type: QuantType
    model: str | None = None
    output: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """`name` is None for a file outside the library; `seconds` 0 where it was there already."""

    name: str | None
    path: Path
    quant: str
    size_bytes: int
    parameters: int
    seconds: float
    already_there: bool = False


def quantize(
    library: Library, request: QuantizeRequest, emit: Emit, cancel: threading.Event
) -> QuantizeResult:
    """Write the GGUF and, unless it goes elsewhere, enter it into the library.

    Emits Progress in bytes of output. Nothing half-made stays, whatever happens.
    """
    from localq.convert import convert_checkpoint, open_checkpoint
    from localq.hardware import cpu_threads
    from localq.library.partials import finish, partial_path, sweep_partials
    from localq.quantize.layout import lay_out
    from localq.quantize.writer import write_file

    began = time.monotonic()
    source = locate_checkpoint(library, request.model)
    repo = _repo(source)
    target = _target(library, request, source, repo)
    if made := _already_made(library, request, source, repo, target):
        emit(Note(f"{made.name} is there already; --force makes it anew"))
        library.touch(made.name)
        return QuantizeResult(
            made.name, made.path, made.quant, made.size_bytes, made.parameters, 0.0, True
        )

    emit(Started(f"{source.name} -> {request.type.name}"))
    checkpoint = open_checkpoint(source.path, name=repo.rpartition("/")[2])
    converted = convert_checkpoint(checkpoint)
    for warning in converted.warnings:
        emit(Note(warning, warning=True))
    layout = lay_out(converted.fields, converted.tensors, request.type)

    with storage_errors(target):
        if request.output is None:
            target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(target.parent)
        _require_space(target.parent, layout.size_bytes)
        partial = partial_path(target)
        try:
            write_file(partial, layout, threads=cpu_threads(), emit=emit, cancel=cancel)
            # The catalogue was asked; a file it does not know is a leftover of a crash.
            finish(partial, target, replace=request.force or request.output is None)
        finally:
            partial.unlink(missing_ok=True)

    name = None
    if request.output is None:
        now = time.time()
        name = f"{repo}:{request.type.name}"
        library.add(
            Model(
                name=name,
                format=ModelFormat.GGUF,
                quant=request.type.name,
                architecture=converted.architecture,
                parameters=converted.parameters,
                size_bytes=layout.size_bytes,
                path=target,
                source=source.source,
                created_at=now,
                used_at=now,
            ),
            [target],
        )
    return QuantizeResult(
        name,
        target,
        request.type.name,
        layout.size_bytes,
        converted.parameters,
        time.monotonic() - began,
    )


def _repo(source: Model) -> str:
    """The name of the model whatever its quantization: that of the checkpoint."""
    if source.name == str(source.path):
        return f"{_LOCAL_ORGANISATION}/{source.path.resolve().name}"
    return source.name


def _target(library: Library, request: QuantizeRequest, source: Model, repo: str) -> Path:
    if request.output is None:
        return library.gguf_path(repo, request.type.name)
    target = request.output.expanduser().absolute()
    if target.is_dir():
        target /= f"{repo.rpartition('/')[2]}-{request.type.name}.gguf"
    if not target.parent.is_dir():
        raise StorageError(f"{target.parent}: no such folder", hint="make it first")
    if target.suffix != ".gguf":
        raise UsageError(
            f"{target.name}: the output must be named *.gguf", hint=f"try -o {target}.gguf"
        )
    if target.resolve().is_relative_to(library.paths.models.resolve()):
        raise UsageError(
            f"{target}: is inside localq's own library",
            hint="leave -o out, or choose a place outside",
        )
    if target.exists() and not request.force:
        raise LibraryError(f"{target}: is there already", hint="replace it with --force")
    return target


def _already_made(
    library: Library, request: QuantizeRequest, source: Model, repo: str, target: Path
) -> Model | None:
    """The same type of the same revision, made before."""
    if request.force or request.output is not None:
        return None
    name = f"{repo}:{request.type.name}".casefold()
    made = next((model for model in library.models() if model.name.casefold() == name), None)
    if made is None or not made.path.is_file():
        return None
    if made.source != source.source or source.created_at > made.created_at:
        raise LibraryError(
            f"{made.name} was made from another revision of the model",
            hint="make it anew with --force",
        )
    return made


def _require_space(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise StorageError(
            f"{folder}: the file needs {size_bytes:,} bytes, the disk has {free:,} left",
            hint="free some space, choose a smaller type, or another disk with -o",
        )
