"""GGUF adapters (LoRA): what one is, and whether a file is one.

llama.cpp ends the process where a field has another type than it expects, or where matrices do not
fit each other; so a file is looked through before llama.cpp gets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from localq.errors import BadFileError, UnsupportedError, UsageError
from localq.formats.gguf import GGUFFile, ValueType, read_gguf
from localq.messages import msg

__all__ = ["MAX_ADAPTERS", "Adapter", "is_adapter", "read_adapter"]

MAX_ADAPTERS = 16
"""At the same time."""
_MOST_SCALE = 1000.0
_INVOCATION = "adapter.alora.invocation_tokens"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A GGUF adapter, and how much of it is added: 1 is as it was trained. UsageError."""

    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and abs(self.scale) <= _MOST_SCALE):
            raise UsageError(
                msg(
                    "the scale of an adapter is {scale:g}; it must be -{most:g} to {most:g}",
                    scale=self.scale,
                    most=_MOST_SCALE,
                )
            )


def is_adapter(file: GGUFFile) -> bool:
    """Whether a GGUF says that it is an adapter."""
    return file.metadata.get("general.type") == "adapter"


def read_adapter(path: Path, architecture: str) -> GGUFFile:
    """The header of an adapter for a model of that architecture (llama.cpp's name).

    BadFileError, UnsupportedError where it is none, or one for another model.
    """
    file = read_gguf(path)
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        if file.metadata.get(key) != wanted:
            raise UnsupportedError(
                msg("{path}: is no LoRA adapter", path=path),
                hint=msg("localq convert FOLDER makes one of what PEFT saves"),
            )
    own = file.metadata.get("general.architecture")
    if own != architecture:
        raise UnsupportedError(
            msg(
                "{path}: is an adapter for {own}, and the model is {architecture}",
                path=path,
                own=str(own)[:60],
                architecture=architecture,
            )
        )
    if _INVOCATION in file.fields:
        raise UnsupportedError(
            msg("{path}: acts only from certain words on, which is not supported", path=path)
        )
    alpha = file.fields.get("adapter.lora.alpha")
    if alpha is not None and alpha.type is not ValueType.FLOAT32:
        raise BadFileError(path, msg("adapter.lora.alpha is no float32"))
    _check_pairs(file)
    return file


def _check_pairs(file: GGUFFile) -> None:
    """BadFileError where a matrix lacks its other half, or halves are of different ranks."""
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    for name, shape in shapes.items():
        stem, dot, part = name.rpartition(".")
        if part not in ("lora_a", "lora_b"):
            continue  # llama.cpp passes over norms, and refuses the rest by name
        other = shapes.get(f"{stem}{dot}lora_{'b' if part == 'lora_a' else 'a'}")
        if other is None:
            raise BadFileError(file.path, msg("{name} is there without its other half", name=name))
        if part == "lora_b":
            continue
        rank = shape[0] if "token_embd" in stem else shape[1] if len(shape) > 1 else 0
        if rank != other[0]:
            raise BadFileError(
                file.path, msg("{name} and its other half do not fit together", name=name)
            )
