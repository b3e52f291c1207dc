"""What the library knows about one model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Model", "ModelFormat", "ModelSource", "Removed"]


class ModelFormat(StrEnum):
    """How the weights are stored."""

    GGUF = "gguf"
    """One file (or its shards) that llama.cpp runs."""
    SAFETENSORS = "safetensors"
    """A checkpoint: a folder with weights, configuration and tokenizer."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model came from; both None for a folder of the user's own."""

    repo: str | None
    """The Hub repository, as "org/name"."""
    revision: str | None
    """The commit that was fetched."""


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the library."""

    name: str
    """"org/name" for a checkpoint, "org/name:QUANT" for a GGUF."""
    format: ModelFormat
    quant: str
    """What most weights are stored as: "Q4_0", "BF16"."""
    architecture: str
    """"llama" in a GGUF, "LlamaForCausalLM" in a checkpoint."""
    parameters: int
    """How many weights there are."""
    size_bytes: int
    """Bytes of all its files."""
    path: Path
    """Absolute: the .gguf file (of several shards the first), or the checkpoint's folder."""
    source: ModelSource
    created_at: float
    """Unix seconds when it was pulled or made."""
    used_at: float
    """Unix seconds when it was last pulled, made or used."""
    aliases: tuple[str, ...] = ()
    """Other names that the user gave it."""
    tags: tuple[str, ...] = ()
    note: str = ""
    """What the user wrote about it."""
    external: bool = False
    """Its files lie outside localq's folder and are another's: never changed, never deleted."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did. A model whose files are another's is forgotten, and `trash_id` None."""

    model: Model
    trash_id: int | None
    frees_bytes: int
    """Bytes the disk gets back when the trash is emptied; a file with another link gives none."""
