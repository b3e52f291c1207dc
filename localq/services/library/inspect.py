"""All that is known of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from localq.database import Database
from localq.library import Library, Model, ModelFormat
from localq.quality.cards import QualityCard, QualityCards
from localq.services.library.locate import locate

__all__ = ["Int4Details", "ModelDetails", "TensorDetails", "show"]


@dataclass(frozen=True, slots=True)
class TensorDetails:
    """`shape` is in the order of the file's format: GGUF has the fastest dimension first."""

    name: str
    type: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Int4Details:
    """What is really quantized, by the tensors: `packed` matrices with `quantized_parameters` of
    the model's weights, `kept` modules beside them that are not; bytes of tensors by dtype.
    `provenance` is what localq wrote when it made the checkpoint."""

    method: str
    bits: int
    group_size: int
    symmetric: bool
    desc_act: bool
    packed: int
    quantized_parameters: int
    kept: tuple[str, ...]
    dtypes: Mapping[str, int]
    provenance: Mapping[str, Any]


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
    int4: Int4Details | None = None
    """Of an INT4 checkpoint alone."""


def show(library: Library, model: str) -> ModelDetails:
    """Read the headers of the model that `model` names."""
    found = locate(library, model)
    if found.format.is_file:
        cards = QualityCards(Database(library.paths.database)).of(found.path)
        return replace(_gguf(found), cards=cards)
    if found.format is ModelFormat.INT4:
        return _int4(found)
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


def _int4(model: Model) -> ModelDetails:
    from localq.errors import LocalqError
    from localq.formats.json_file import read_json_object
    from localq.gpu_quant.checkpoint import PROVENANCE, read_int4

    found = read_int4(model.path)
    tensors = tuple(
        TensorDetails(name, info.dtype, info.shape, info.nbytes)
        for name, info in found.tensors.items()
    )
    told = found.quantization
    try:
        provenance = read_json_object(model.path / PROVENANCE)
    except LocalqError:
        provenance = {}
    int4 = Int4Details(
        told.method.value,
        told.bits,
        told.group_size,
        told.symmetric,
        told.desc_act,
        len(found.packed),
        found.quantized_parameters,
        found.kept,
        found.dtypes,
        provenance,
    )
    return ModelDetails(model, found.config, tensors, int4=int4)
