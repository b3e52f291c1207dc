"""Matrices that a sentence-transformers model multiplies its pooled vector with.

References: sentence-transformers `models/Dense.py`; llama.cpp `conversion/gemma.py`,
EmbeddingGemma, which has places for two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.formats.json_file import read_json_array, read_json_object
from localq.formats.presence import is_there
from localq.formats.safetensors import read_safetensors_header
from localq.messages import msg

__all__ = ["DenseModule", "dense_modules"]

_NAMES = ("dense_2", "dense_3")


@dataclass(frozen=True, slots=True)
class DenseModule:
    """`name` is GGUF's; the weight has `width_out` rows of `width_in`."""

    name: str
    weight: SourceTensor
    width_in: int
    width_out: int


def dense_modules(root: Path) -> tuple[DenseModule, ...]:
    """Those that modules.json names, in its order; none where there is no such file.

    Raises UnsupportedError for what llama.cpp cannot compute: a bias, an activation, a third one.
    """
    modules = root / "modules.json"
    if not is_there(modules):
        return ()
    folders = [
        str(module.get("path"))
        for module in read_json_array(modules)
        if isinstance(module, dict) and str(module.get("type")).endswith("Dense")
    ]
    if len(folders) > len(_NAMES):
        raise UnsupportedError(
            msg("{path}: llama.cpp has places for two dense layers", path=modules),
            hint=msg("take another model"),
        )
    for folder in folders:
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise BadFileError(
                modules, msg("names a folder outside: {folder!r}", folder=folder[:200])
            )
    return tuple(
        _module(name, root / folder) for name, folder in zip(_NAMES, folders, strict=False)
    )


def _module(name: str, folder: Path) -> DenseModule:
    config = read_json_object(folder / "config.json")
    activation = str(config.get("activation_function") or "Identity")
    if config.get("bias") or not activation.endswith("Identity"):
        raise UnsupportedError(
            msg("{path}: llama.cpp's dense layers are matrices alone", path=folder),
            hint=msg("take another model"),
        )
    path = folder / "model.safetensors"
    for info in read_safetensors_header(path):
        if info.name == "linear.weight" and len(info.shape) == 2:
            rows, columns = info.shape
            if (config.get("in_features"), config.get("out_features")) != (columns, rows):
                raise BadFileError(
                    path,
                    msg("tensor {name!r} has shape {list}", name=info.name, list=[rows, columns]),
                )
            return DenseModule(name, SourceTensor(path, info), columns, rows)
    raise BadFileError(path, msg("no tensor {wanted!r}", wanted="linear.weight"))
