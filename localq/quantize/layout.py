"""A GGUF file before it is written: its header, and the place and type of every tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localq.formats.gguf import Field, TensorLayout, ValueType, align, encode_header
from localq.formats.rows import TensorSource
from localq.formats.types import QuantType, TensorType
from localq.quantize.mixture import ModelTraits, TensorShape, choose_types

__all__ = ["FileLayout", "PlacedTensor", "lay_out"]

_FLOATS = (QuantType.F32, QuantType.F16, QuantType.BF16)
_VERSION_KEY = "general.quantization_version"
_TYPE_KEY = "general.file_type"


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor's source, the type it is written in, and its place in the file, in bytes."""

    source: TensorSource
    type: TensorType
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileLayout:
    """`size_bytes` is the finished file's exact size."""

    header: bytes
    tensors: tuple[PlacedTensor, ...]
    size_bytes: int


def lay_out(
    fields: Mapping[str, Field], sources: Sequence[TensorSource], quant: QuantType
) -> FileLayout:
    """Place the tensors of a converted checkpoint in a file of type `quant`.

    The result is what llama.cpp's converter writes (float types), or what llama-quantize makes of
    that (all others), down to the order of keys and tensors.
    """
    if quant in _FLOATS:
        ordered = list(sources)
        types = [TensorType.F32 if s.always_f32 else quant.default for s in ordered]
        fields = {**fields, _TYPE_KEY: Field(ValueType.UINT32, quant.file_type)}
    else:
        ordered = sorted(sources, key=lambda source: _quantize_order(source.name))
        shapes = [TensorShape(s.name, s.shape, _stored(s)) for s in ordered]
        metadata = {key: field.value for key, field in fields.items()}
        types = choose_types(quant, shapes, ModelTraits.from_metadata(metadata))
        # llama-quantize sets these two anew, which moves them to the end.
        version = fields[_VERSION_KEY]
        fields = {key: f for key, f in fields.items() if key not in (_VERSION_KEY, _TYPE_KEY)}
        fields[_VERSION_KEY] = version
        fields[_TYPE_KEY] = Field(ValueType.UINT32, quant.file_type)
    return _place(fields, ordered, types)


def _stored(source: TensorSource) -> TensorType:
    """The type that holds the tensor without loss, as the converter's intermediate file would."""
    return TensorType.F32 if source.always_f32 else TensorType[source.lossless]


def _quantize_order(name: str) -> tuple[int, bytes]:
    """llama.cpp's model loader sorts by layer, what belongs to none first, then by name."""
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) if match else -1), name.encode()


def _place(
    fields: Mapping[str, Field], sources: Sequence[TensorSource], types: Sequence[TensorType]
) -> FileLayout:
    relative: list[int] = []
    sizes: list[int] = []
    end = 0
    for source, type_ in zip(sources, types, strict=True):
        relative.append(end)
        sizes.append(type_.row_bytes(source.columns) * source.rows)
        end = align(end + sizes[-1])
    table = [
        TensorLayout(source.name, type_, source.shape, offset)
        for source, type_, offset in zip(sources, types, relative, strict=True)
    ]
    header = encode_header(fields.items(), table)
    placed = tuple(
        PlacedTensor(source, type_, len(header) + offset, nbytes)
        for source, type_, offset, nbytes in zip(sources, types, relative, sizes, strict=True)
    )
    return FileLayout(header, placed, len(header) + end)
