"""All that is known of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from localq.database import Database
from localq.library import Library, Model
from localq.quality.cards import QualityCard, QualityCards
from localq.services.library.locate import locate

__all__ = ["ModelDetails", "TensorDetails", "show"]


@dataclass(frozen=True, slots=True)
class TensorDetails:
    """`shape` is in the order of the file's format: GGUF has the fastest dimension first."""

    name: str
    type: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """`metadata` is a GGUF's own, or a checkpoint's config.json; `sampling` the values that a
    GGUF recommends, by the names of SamplingParams."""

    model: Model
    metadata: Mapping[str, Any]
    tensors: tuple[TensorDetails, ...]
    sampling: Mapping[str, float] = field(default_factory=dict)
    cards: tuple[QualityCard, ...] = ()
    """What evaluations found, latest first."""


def show(library: Library, model: str) -> ModelDetails:
    """Read the headers of the model that `model` names."""
    found = locate(library, model)
    if found.format.is_file:
        cards = QualityCards(Database(library.paths.database)).of(found.path)
        return replace(_gguf(found), cards=cards)
    return _checkpoint(found)


def _gguf(model: Model) -> ModelDetails:
    from localq.engine.sampling_defaults import recommended_sampling
    from localq.formats.gguf_split import read_shards
    from localq.formats.types import TensorType

    shards = read_shards(model.path)
    tensors = tuple(
        TensorDetails(
            tensor.name,
            tensor.type.name if isinstance(tensor.type, TensorType) else f"type {tensor.type}",
            tensor.shape,
            tensor.nbytes,
        )
        for shard in shards
        for tensor in shard.tensors
    )
    metadata = shards[0].metadata
    return ModelDetails(model, metadata, tensors, recommended_sampling(metadata))


def _checkpoint(model: Model) -> ModelDetails:
    from localq.convert import open_checkpoint

    checkpoint = open_checkpoint(model.path)
    tensors = tuple(
        TensorDetails(name, tensor.info.dtype, tensor.info.shape, tensor.info.nbytes)
        for name, tensor in checkpoint.tensors.items()
    )
    return ModelDetails(model, checkpoint.config, tensors)
