"""What a MODEL argument means: a model of the library, or a file or folder on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from localq.errors import LocalqError, NotFoundError, UnsupportedError
from localq.formats.adapter import is_adapter
from localq.formats.gguf_split import read_shards
from localq.library import Library, Model, ModelFormat
from localq.library.names import looks_like_path
from localq.messages import msg
from localq.services.library.int4_folder import int4_model, is_int4_folder, not_for_llama_cpp

__all__ = [
    "locate",
    "locate_checkpoint",
    "locate_checkpoint_folder",
    "locate_convertible",
    "locate_gguf",
    "locate_path",
    "locate_source",
]

_CONFIGS = ("config.json", "params.json", "adapter_config.json")


def locate(library: Library, text: str) -> Model:
    """A model of either format."""
    return _on_disk(text) or library.find(text)


def locate_gguf(library: Library, text: str | None) -> Model:
    """A GGUF, ready to run; without `text` the one pulled, made or used last."""
    if text is None and (last := library.last_used()):
        text = last.name  # a checkpoint pulled last means what was made of it, not an older model
    model = _on_disk(text) or _gguf_or_int4(library, text)
    if model.format is ModelFormat.ADAPTER:
        raise NotFoundError(
            msg("{path}: an adapter is no model by itself", path=model.path),
            hint=msg("add it to its model: localq run MODEL --lora {path}", path=model.path),
        )
    if model.format is ModelFormat.INT4:
        raise not_for_llama_cpp(model)
    if not model.format.is_runnable:
        raise NotFoundError(
            msg("{path}: a checkpoint cannot be run as it is", path=model.path),
            hint=msg("quantize it first: localq quantize q4_0 {path}", path=model.path),
        )
    _refuse_gone(model)
    return model


def locate_checkpoint(library: Library, text: str | None) -> Model:
    """A checkpoint to convert; without `text` that of the model used last."""
    model = _on_disk(text) or library.find_checkpoint(text)
    _refuse_int4(model)
    if not model.format.is_original:
        raise UnsupportedError(
            msg("{path}: is a GGUF already", path=model.path),
            hint=msg("make another type of it: localq quantize q4_0 {path}", path=model.path),
        )
    return model


def locate_source(library: Library, text: str | None) -> Model:
    """What to quantize: a checkpoint, or a GGUF where there is no checkpoint of it.

    Without `text` the model used last, or rather the checkpoint it was made from.
    """
    model = _on_disk(text) or _source(library, text)
    if model.format is ModelFormat.ADAPTER:
        raise UnsupportedError(
            msg("{name}: an adapter cannot be quantized", name=model.name),
            hint=msg("merge it first: localq convert FOLDER --merge"),
        )
    _refuse_int4(model)
    return model


def _source(library: Library, text: str | None) -> Model:
    try:
        return library.find_checkpoint(text)
    except NotFoundError:
        last = library.last_used()
        if text and Path(text).is_dir():
            return _checkpoint(Path(text).absolute())  # says what the folder lacks
        if last is None:
            raise
        return library.find(text or last.name)


def locate_convertible(library: Library, text: str | None) -> Model:
    """As `locate_checkpoint`, but takes folders that only llama.cpp's converter can read too."""
    try:
        return locate_checkpoint(library, text)
    except UnsupportedError:
        path = Path(os.path.expanduser(text or "")).absolute()  # noqa: PTH111 - as locate does
        if text is None or not (path / "config.json").is_file():
            raise
        return _unread_checkpoint(path)


def locate_path(library: Library, text: str | None) -> Path:
    """Where other programs find the model: its GGUF, or the checkpoint's folder if it has none."""
    if text is None:
        last = library.last_used()
        text = last.name if last else None
    try:
        return locate_gguf(library, text).path
    except (NotFoundError, UnsupportedError):
        if text is None:
            raise
        model = locate(library, text)
        _refuse_gone(model)
        return model.path


def locate_checkpoint_folder(library: Library, text: str | None) -> Path:
    """The folder of a checkpoint: of that which a GGUF was made from, where it names one."""
    model = locate_checkpoint(library, text)
    _refuse_gone(model)
    return model.path


def _refuse_gone(model: Model) -> None:
    is_file = model.format.is_file
    if not (model.path.is_file() if is_file else model.path.is_dir()):
        raise NotFoundError(
            msg(
                "{name}: its {word} is gone: {path}",
                name=model.name,
                word=("file" if is_file else "folder"),
                path=model.path,
            ),
            hint=msg("connect its disk, or forget it with: localq rm {name}", name=model.name),
        )


def _gguf_or_int4(library: Library, text: str | None) -> Model:
    """What `text` names; an INT4 checkpoint only where there is no GGUF that it could mean."""
    try:
        return library.find_gguf(text)
    except NotFoundError:
        if text is not None:
            with suppress(LocalqError):
                found = library.find(text)
                if found.format is ModelFormat.INT4:
                    return found
        raise


def _refuse_int4(model: Model) -> None:
    """Nothing else can be made of it."""
    if model.format is ModelFormat.INT4:
        from localq.convert.quantized import already_quantized

        raise already_quantized(model.path, model.quant)


def _on_disk(text: str | None) -> Model | None:
    """The file or folder that `text` names, or None where it is the name of a model.

    NotFoundError for what can only be a path but is not there.
    """
    if not text or "\0" in text:
        return None
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    if path.is_dir() and (looks_like_path(text) or any((path / c).is_file() for c in _CONFIGS)):
        return _checkpoint(path)
    if path.is_file() and (looks_like_path(text) or path.suffix == ".gguf"):
        return _gguf(path)
    if looks_like_path(text):
        raise NotFoundError(msg("{text}: no such file or folder", text=text))
    return None


def _gguf(path: Path) -> Model:
    shards = read_shards(path)
    first = shards[0]  # llama.cpp begins with it, whichever was named
    return Model.new(
        str(first.path),
        ModelFormat.ADAPTER if is_adapter(first) else ModelFormat.GGUF,
        first.quant,
        first.path,
        architecture=first.architecture,
        parameters=sum(shard.parameters for shard in shards),
        size_bytes=sum(shard.size_bytes for shard in shards),
        created_at=_changed(first.path),
    )


def _checkpoint(path: Path) -> Model:
    from localq.convert import open_checkpoint

    if is_int4_folder(path):
        return int4_model(path, str(path), path, created_at=_changed(path))
    found = open_checkpoint(path)
    return Model.new(
        str(path),
        ModelFormat.SAFETENSORS,
        found.dtype,
        path,
        architecture=found.architecture,
        parameters=found.parameters,
        size_bytes=found.size_bytes,
        created_at=_changed(path),
    )


def _unread_checkpoint(root: Path) -> Model:
    from localq.formats.json_file import read_json_object

    config = read_json_object(root / "config.json")
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    dtype = config.get("dtype") or config.get("torch_dtype")
    weights = [path for end in ("*.bin", "*.safetensors", "*.pt") for path in root.glob(end)]
    quant = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}.get(str(dtype), "unknown")
    return Model.new(
        str(root),
        ModelFormat.SAFETENSORS,
        quant,
        root,
        architecture=named if isinstance(named, str) else "unknown",
        parameters=0,
        size_bytes=sum(path.stat().st_size for path in weights),
        created_at=_changed(root),
    )


def _changed(path: Path) -> float:
    """What is in no library is as old as it was changed."""
    return path.stat().st_mtime
