"""The types in which a model can be had: how large each is, and its shape in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localq.errors import UsageError
from localq.formats.gguf import Field, Plain
from localq.formats.rows import TensorSource
from localq.formats.types import QuantType
from localq.planning.fit_shape import scaled_shape
from localq.planning.model_shape import ModelShape, TensorLike, read_shape

__all__ = ["LOSSLESS", "Offer", "offers_like", "offers_to_make", "plain"]

LOSSLESS = ("F16", "BF16", "F32")
_USUAL = ("Q2_K", "Q3_K_M", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0")


@dataclass(frozen=True, slots=True)
class Offer:
    """`label` is what to ask for it by, `type` the file type of that name, where it is one.

    `exact_size` is False where a few words about an importance matrix come to it; `exact_shape`
    where the shape was not read from its own header.
    """

    label: str
    type: QuantType | None
    size_bytes: int
    shape: ModelShape
    exact_size: bool = True
    exact_shape: bool = True
    needs_imatrix: bool = False
    usual: bool = True
    """Among the types that people choose."""


def offers_to_make(
    fields: Mapping[str, Field],
    tensors: Sequence[TensorSource],
    *,
    name: str,
    converted: bool,
    every: bool,
) -> tuple[Offer, ...]:
    """What `quantize` can make, the smallest first; `every` type, or the usual ones and the one
    that loses nothing. `converted`: from a checkpoint, not from a GGUF. UnsupportedError,
    which begins with the model's `name`."""
    from localq.quantize.ladder import climb

    metadata = plain(fields)
    own = metadata.get("general.file_type")
    usual = {*(QuantType[name] for name in _USUAL)}
    usual |= {type_ for type_ in QuantType if type_.name in LOSSLESS and type_.file_type == own}
    rungs = climb(fields, tensors, QuantType if every else usual, converted=converted)
    offers = [
        Offer(
            label=rung.type.name,
            type=rung.type,
            size_bytes=rung.size_bytes,
            shape=read_shape(metadata, rung.tensors, name=name),
            exact_size=not rung.needs_imatrix,
            needs_imatrix=rung.needs_imatrix,
            usual=rung.type in usual,
        )
        for rung in rungs
    ]
    return tuple(sorted(offers, key=lambda offer: (offer.size_bytes, offer.label)))


def offers_like(
    sizes: Mapping[str, int],
    known: str,
    metadata: Mapping[str, Plain],
    tensors: Sequence[TensorLike],
    *,
    name: str,
) -> tuple[Offer, ...]:
    """Files of these sizes, the smallest first, of which `known` has that header; the weights of
    the others are taken to lie as its do, larger or smaller. UnsupportedError, which begins with
    the model's `name`."""
    shape = read_shape(metadata, tensors, name=name)
    offers = [
        Offer(
            label,
            _label_type(label),
            size,
            shape if label == known else scaled_shape(shape, size, sizes[known]),
            exact_shape=label == known,
        )
        for label, size in sizes.items()
    ]
    return tuple(sorted(offers, key=lambda offer: (offer.size_bytes, offer.label)))


def _label_type(label: str) -> QuantType | None:
    """The file type that the name of a ready-made file means: "UD-Q4_K_XL" is a kind of Q4_K_M."""
    try:
        return QuantType.parse(label.upper().removeprefix("UD-").replace("_XL", "_M"))
    except UsageError:
        return None


def plain(fields: Mapping[str, Field]) -> dict[str, Plain]:
    """The metadata as plain values."""
    return {key: field.value for key, field in fields.items()}
