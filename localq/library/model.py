"""What the library knows about one model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["MODEL_COLUMNS", "OWN", "Model", "ModelFormat", "ModelSource", "Removed"]

MODEL_COLUMNS = (
    "name",
    "format",
    "quant",
    "architecture",
    "parameters",
    "size_bytes",
    "path",
    "source_repo",
    "source_revision",
    "created_at",
    "used_at",
    "note",
    "external",
)
"""Of the table "models": what an entry says of itself."""

_MAX_TEXT = 200


class ModelFormat(StrEnum):
    """How the weights are stored. What is done with a model asks what its format is, not which."""

    GGUF = "gguf"
    """One file (or its shards) that llama.cpp runs."""
    SAFETENSORS = "safetensors"
    """A checkpoint: a folder with weights, configuration and tokenizer."""
    ADAPTER = "adapter"
    """A GGUF with what a model learnt later (LoRA), which is added to it."""
    INT4 = "int4"
    """A checkpoint whose matrices are packed by AWQ or GPTQ, for vLLM and transformers."""

    @property
    def is_file(self) -> bool:
        """Whether a model is one file (or its shards); else it is a folder."""
        return self in (ModelFormat.GGUF, ModelFormat.ADAPTER)

    @property
    def is_runnable(self) -> bool:
        """Whether the engine, llama.cpp, runs it as it is."""
        return self is ModelFormat.GGUF

    @property
    def is_original(self) -> bool:
        """Whether it is what others are made of: a checkpoint as it was published, which is
        called "org/name" alone."""
        return self is ModelFormat.SAFETENSORS


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model came from; both None for a folder of the user's own."""

    repo: str | None
    """The Hub repository, as "org/name"."""
    revision: str | None
    """The commit that was fetched."""


OWN = ModelSource(None, None)
"""The source of what is the user's own."""


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the library."""

    name: str
    """"org/name" for a checkpoint, "org/name:QUANT" for what was made of one: a GGUF, or
    "org/name:AWQ-INT4"."""
    format: ModelFormat
    quant: str
    """What most weights are stored as: "Q4_0", "BF16", "GPTQ-INT4"."""
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

    @classmethod
    def new(
        cls,
        name: str,
        format_: ModelFormat,
        quant: str,
        path: Path,
        *,
        architecture: str,
        parameters: int,
        size_bytes: int,
        source: ModelSource = OWN,
        created_at: float | None = None,
    ) -> Model:
        """A model as it is when it is made or found; `created_at` None: now.

        `architecture` is what a file calls it, and may be anything.
        """
        made = time.time() if created_at is None else created_at
        return cls(
            name=name,
            format=format_,
            quant=quant,
            architecture=architecture[:_MAX_TEXT] if architecture.isprintable() else "unknown",
            parameters=parameters,
            size_bytes=size_bytes,
            path=path,
            source=source,
            created_at=made,
            used_at=made,
        )

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], root: Path, aliases: tuple[str, ...], tags: tuple[str, ...]
    ) -> Model:
        """The entry that the `MODEL_COLUMNS` of a row hold, its path under `root`.

        TypeError, ValueError or KeyError where they hold something else.
        """
        return cls(
            name=row["name"],
            format=ModelFormat(row["format"]),
            quant=row["quant"],
            architecture=row["architecture"],
            parameters=int(row["parameters"]),
            size_bytes=int(row["size_bytes"]),
            path=root / row["path"],
            source=ModelSource(row["source_repo"], row["source_revision"]),
            created_at=float(row["created_at"]),
            used_at=float(row["used_at"]),
            aliases=aliases,
            tags=tags,
            note=row["note"],
            external=bool(row["external"]),
        )


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did. A model whose files are another's is forgotten, and `trash_id` None."""

    model: Model
    trash_id: int | None
    frees_bytes: int
    """Bytes the disk gets back when the trash is emptied; a file with another link gives none."""
