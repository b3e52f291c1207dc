"""A GGUF file before it is written: its header, and the place and type of every tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError
from localq.formats.gguf import Field, TensorLayout, ValueType, align, encode_header
from localq.formats.rows import TensorSource
from localq.formats.types import QuantType, TensorType
from localq.messages import msg
from localq.quantize.mixture import choose_types
from localq.quantize.options import QuantOptions
from localq.quantize.tensor_roles import ModelTraits, TensorShape

if TYPE_CHECKING:
    from localq.quantize.imatrix import Imatrix

__all__ = ["FileLayout", "PlacedTensor", "kept_type", "lay_out", "lay_out_quantization", "split"]

_FLOATS = (QuantType.F32, QuantType.F16, QuantType.BF16)
_VERSION_KEY = "general.quantization_version"
_TYPE_KEY = "general.file_type"
_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor's source, the type it is written in, and its place in the file, in bytes.

    `weights` are an importance matrix's, columns x experts of them.
    """

    source: TensorSource
    type: TensorType
    offset: int
    nbytes: int
    weights: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class FileLayout:
    """`header` encodes `fields` and the tensors; `size_bytes` is the finished file's exact size."""

    fields: Mapping[str, Field]
    header: bytes
    tensors: tuple[PlacedTensor, ...]
    size_bytes: int


_MOST_WEIGHT = 1e25
"""Of an importance matrix. At far larger values, and below 0, some of ggml's searches find nothing
that is good enough, and end the process."""


def lay_out(
    fields: Mapping[str, Field],
    sources: Sequence[TensorSource],
    options: QuantOptions,
    imatrix: Imatrix | None = None,
) -> FileLayout:
    """A converted checkpoint in any type: in one step what llama.cpp does in two."""
    if options.type in _FLOATS:
        return _conversion(fields, sources, options.type)
    return lay_out_quantization(fields, sources, options, imatrix)


def _conversion(
    fields: Mapping[str, Field], sources: Sequence[TensorSource], quant: QuantType
) -> FileLayout:
    """F32, F16 or BF16 as llama.cpp's converter writes them."""
    types = [kept_type(source) or source.converted(quant) for source in sources]
    if _TYPE_KEY in fields:  # the converter leaves it out for a few families
        whole = QuantType.MXFP4_MOE if TensorType.MXFP4 in types else quant
        fields = {**fields, _TYPE_KEY: Field(ValueType.UINT32, whole.file_type)}
    return _place(fields, sources, types)


def kept_type(source: TensorSource) -> TensorType | None:
    """The type of what comes quantized in a checkpoint: it stays as it is, for it would lose again
    in any other."""
    stored = TensorType[source.lossless]
    from_gguf = source.pieces[0].dtype == source.lossless
    return stored if stored.is_quantized and not from_gguf else None


def lay_out_quantization(
    fields: Mapping[str, Field],
    sources: Sequence[TensorSource],
    options: QuantOptions,
    imatrix: Imatrix | None = None,
) -> FileLayout:
    """What llama-quantize makes of a model: of the converter's lossless file, or of any GGUF.

    Equal to llama-quantize's down to the order of keys and tensors. Raises UnsupportedError for
    types that lack an importance matrix, BadFileError for a matrix of another model.
    """
    ordered = sorted(map(_squeezed, sources), key=lambda source: _loader_order(source.name))
    shapes = [TensorShape(s.name, s.shape, TensorType[s.lossless]) for s in ordered]
    traits = ModelTraits.from_metadata({key: field.value for key, field in fields.items()})
    weighed = None if imatrix is None else imatrix.entries.keys()
    chosen = choose_types(options, shapes, traits, weighed)
    types = [kept_type(source) or type_ for source, type_ in zip(ordered, chosen, strict=True)]
    # llama-quantize sets these anew, which moves them to the end.
    about = imatrix.fields() if imatrix else {}
    moved = {_VERSION_KEY, _TYPE_KEY, *_SPLIT_KEYS, *about}
    kept = {key: field for key, field in fields.items() if key not in moved}
    kept[_VERSION_KEY] = Field(ValueType.UINT32, _QUANTIZATION_VERSION)
    kept[_TYPE_KEY] = Field(ValueType.UINT32, options.type.file_type)
    return _place({**kept, **about}, ordered, types, imatrix)


def _squeezed(source: TensorSource) -> TensorSource:
    """Without the last dimensions that are 1: to llama-quantize a matrix of one row is a vector."""
    shape = source.shape
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return source if shape is source.shape else replace(source, shape=shape)


def _loader_order(name: str) -> tuple[int, bytes]:
    """llama.cpp's model loader sorts by layer, what belongs to none first, then by name."""
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) if match else -1), name.encode()


def split(layout: FileLayout, most_bytes: int) -> tuple[FileLayout, ...]:
    """The same model in files of at most `most_bytes` of tensors, as llama-gguf-split cuts it.

    The first file holds the metadata; a single tensor larger than that has a file to itself. A
    model that needs no cut stays one file.
    """
    shares: list[list[PlacedTensor]] = [[]]
    size = 0
    for tensor in layout.tensors:
        padded = align(tensor.nbytes)
        if shares[-1] and size + padded > most_bytes:
            shares.append([])
            size = 0
        shares[-1].append(tensor)
        size += padded
    if len(shares) == 1:
        return (layout,)
    return tuple(
        _arrange(
            {
                **(layout.fields if number == 0 else {}),
                "split.no": Field(ValueType.UINT16, number),
                "split.tensors.count": Field(ValueType.INT32, len(layout.tensors)),
                "split.count": Field(ValueType.UINT16, len(shares)),
            },
            share,
        )
        for number, share in enumerate(shares)
    )


def _place(
    fields: Mapping[str, Field],
    sources: Sequence[TensorSource],
    types: Sequence[TensorType],
    imatrix: Imatrix | None = None,
) -> FileLayout:
    tensors = [
        PlacedTensor(
            source,
            type_,
            0,
            type_.row_bytes(source.columns) * source.rows,
            _weights(source, type_, imatrix),
        )
        for source, type_ in zip(sources, types, strict=True)
    ]
    return _arrange(fields, tensors)


def _arrange(fields: Mapping[str, Field], tensors: Sequence[PlacedTensor]) -> FileLayout:
    """One file of these tensors, one after the other."""
    table: list[TensorLayout] = []
    end = 0
    for tensor in tensors:
        table.append(TensorLayout(tensor.source.name, tensor.type, tensor.source.shape, end))
        end = align(end + tensor.nbytes)
    header = encode_header(fields.items(), table)
    placed = tuple(
        replace(tensor, offset=len(header) + entry.offset)
        for tensor, entry in zip(tensors, table, strict=True)
    )
    return FileLayout(fields, header, placed, len(header) + end)


def _weights(
    source: TensorSource, type_: TensorType, imatrix: Imatrix | None
) -> npt.NDArray[np.float32] | None:
    if imatrix is None or type_.name == source.lossless:
        return None
    weights: npt.NDArray[np.float32] | None = imatrix.entries.get(source.name)
    if weights is None:
        return None
    experts = source.shape[2] if len(source.shape) > 2 else 1
    if weights.size != source.columns * experts:
        if source.name == "token_embd.weight":
            return None
        raise BadFileError(
            imatrix.path,
            msg(
                "is of another model: {size} values for {name}, which has {columns}",
                size=weights.size,
                name=source.name,
                columns=source.columns * experts,
            ),
        )
    if not np.isfinite(weights).all():
        raise BadFileError(imatrix.path, msg("holds NaN or infinity for {name}", name=source.name))
    if weights.min() < 0 or weights.max() > _MOST_WEIGHT:
        raise BadFileError(
            imatrix.path, msg("holds what is no mean of squares for {name}", name=source.name)
        )
    return _without_blanks(weights, source.columns)


def _without_blanks(weights: npt.NDArray[np.float32], columns: int) -> npt.NDArray[np.float32]:
    """All values alike for a matrix, or an expert, that has no value above zero: by such values
    no error would count, and the codecs would write whatever is quickest."""
    matrices = weights.reshape(-1, columns)
    used = (matrices > 0).any(axis=1, keepdims=True)
    return weights if used.all() else np.where(used, matrices, np.float32(1)).ravel()
