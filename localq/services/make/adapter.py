"""Adapters: a GGUF adapter for the engine, or a model of its own with the adapter merged in."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from localq.errors import LibraryError, LocalqError, NotFoundError, UsageError
from localq.events import Emit, Note, Started
from localq.formats.types import QuantType
from localq.library import Library, Model, ModelSource
from localq.messages import msg
from localq.services.library.locate import locate_checkpoint
from localq.services.make.destination import target_of
from localq.services.make.lossless import LOSSLESS, own_type
from localq.services.make.making import FileToMake, enter_gguf, make_whole
from localq.services.make.quantize import QuantizeResult

__all__ = ["AdapterRequest", "adapter_at", "convert_adapter_folder"]


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """`adapter` is a folder as PEFT saves it; `base` its model (None: the one that it names);
    `type` None is F32 for an adapter, the base's own type for a merged model; `output` as for
    `convert`, an adapter's default being the current folder."""

    adapter: Path
    base: str | None = None
    merge: bool = False
    type: QuantType | None = None
    output: Path | None = None
    force: bool = False


def adapter_at(text: str | None) -> Path | None:
    """The adapter's folder that `text` names; None where it names something else."""
    from localq.convert.adapter import is_adapter

    if not text or "\0" in text:
        return None
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    return path if path.is_dir() and is_adapter(path) else None


def convert_adapter_folder(
    library: Library, request: AdapterRequest, emit: Emit, cancel: threading.Event
) -> QuantizeResult:
    """Write the GGUF; a merged model goes into the library unless `output` is given.

    BadFileError, UnsupportedError for an adapter that cannot be read or is of another model,
    NotFoundError where its base is not here.
    """
    from localq.convert import convert_checkpoint, open_checkpoint
    from localq.convert.adapter import convert_adapter, merge_adapter, open_adapter
    from localq.hardware import cpu_threads
    from localq.quantize.blocks import source_files
    from localq.quantize.journal import layout_key
    from localq.quantize.layout import lay_out
    from localq.quantize.options import QuantOptions
    from localq.quantize.writer import write_file

    began = time.monotonic()
    adapter = open_adapter(request.adapter)
    source = _base(library, adapter.base, request)
    name = request.adapter.resolve().name
    repo = f"local/{name}"
    base = open_checkpoint(source.path, name=name)
    if request.merge:
        type_ = request.type or own_type(source)
        model = merge_adapter(convert_checkpoint(base), adapter, base)
        here = _named(source, repo, request.adapter)
        target = target_of(library, here, type_, request.output, force=request.force)
    else:
        type_ = request.type or QuantType.F32
        if type_ not in LOSSLESS:
            raise UsageError(
                msg("an adapter does not become {name}", name=type_.name),
                hint=msg("choose f32, f16 or bf16; --merge makes a model of any type"),
            )
        model = convert_adapter(adapter, base)
        target = _adapter_target(request.output, name, type_, force=request.force)
    inside = request.merge and request.output is None
    if inside and not request.force and (made := library.get(f"{repo}:{type_.name}")):
        raise LibraryError(
            msg("{name} is there already", name=made.name), hint=msg("replace it with --force")
        )
    for warning in model.warnings:
        emit(Note(warning, warning=True))
    layout = lay_out(model.fields, model.tensors, QuantOptions(type_))
    files = source_files(layout) | {path for path in request.adapter.iterdir() if path.is_file()}
    file = FileToMake(target, layout, layout_key(layout, files))
    emit(
        Started(
            msg("{name} with {name2} -> {name3}", name=name, name2=source.name, name3=type_.name)
            if request.merge
            else name
        )
    )
    with make_whole(library, [file], inside=inside, replace=request.force or inside) as making:
        (one,) = making.files
        sha256 = write_file(
            *(one.partial, layout),
            threads=cpu_threads(),
            emit=emit,
            cancel=cancel,
            journal=one.journal,
            hashed=inside,
        )
        making.finish()
    entered = None
    if sha256 is not None:
        made = enter_gguf(
            library,
            repo,
            type_,
            {target: sha256},
            architecture=model.architecture,
            parameters=model.parameters,
            source=ModelSource(None, None),
        )
        entered = made.name
    seconds = time.monotonic() - began
    return QuantizeResult(entered, target, type_.name, layout.size_bytes, model.parameters, seconds)


def _base(library: Library, named: str | None, request: AdapterRequest) -> Model:
    wanted = request.base or named
    if wanted is None:
        raise UsageError(
            msg("{adapter}: does not name its base model", adapter=request.adapter),
            hint=msg("name it: --base MODEL"),
        )
    try:
        return locate_checkpoint(library, wanted)
    except LocalqError as error:
        if request.base:
            raise
        raise NotFoundError(
            msg(
                "{adapter}: is an adapter for {wanted}, whose checkpoint is not here",
                adapter=request.adapter,
                wanted=wanted[:200],
            ),
            hint=msg("localq pull {wanted}, or name a copy: --base FOLDER", wanted=wanted[:200]),
        ) from error


def _named(source: Model, repo: str, folder: Path) -> Model:
    """The base under the merged model's name."""
    from dataclasses import replace

    return replace(source, name=repo, path=folder)


def _adapter_target(output: Path | None, name: str, type_: QuantType, *, force: bool) -> Path:
    target = (output or Path.cwd()).expanduser().absolute()
    if target.is_dir():
        target /= f"{name}-{type_.name}.gguf"
    if target.suffix != ".gguf":
        raise UsageError(
            msg("{name}: the output must be named *.gguf", name=target.name),
            hint=msg("-o NAME.gguf"),
        )
    if target.exists() and not force:
        raise LibraryError(
            msg("{target}: is there already", target=target), hint=msg("replace it with --force")
        )
    return target
