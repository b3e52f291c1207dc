"""How large a model becomes in each type, to the byte, without laying out every file anew.

Of a model's files only the tensors' types differ, each a number of four bytes in a header that
is equally long for all of them. So two layouts tell the headers' lengths, and the rest is a choice
of types. The vocabulary, nearly all of a header, is not encoded for that: its length will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from localq.errors import UnsupportedError
from localq.formats.gguf import Field, TensorLayout, ValueType, align, encode_header
from localq.formats.rows import TensorSource
from localq.formats.types import QuantType, TensorType
from localq.quantize.layout import FileLayout, kept_type, lay_out, lay_out_quantization
from localq.quantize.mixture import choose_types
from localq.quantize.options import QuantOptions
from localq.quantize.tensor_roles import ModelTraits, TensorShape

__all__ = ["Rung", "TypedTensor", "climb"]

_FLOATS = (QuantType.F32, QuantType.F16, QuantType.BF16)
_LONG = 1024


@dataclass(frozen=True, slots=True)
class TypedTensor:
    """A tensor as it will be; `shape` has the fastest dimension first."""

    name: str
    type: TensorType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """A type that the model can have. `size_bytes` is exact unless it `needs_imatrix`: then the
    header will say a few words about the matrix, too."""

    type: QuantType
    size_bytes: int
    tensors: tuple[TypedTensor, ...]
    needs_imatrix: bool = False


@dataclass(frozen=True, slots=True)
class _Base:
    """What all files of one kind share: the tensors in their order, and the header's length."""

    sources: tuple[TensorSource, ...]
    header_bytes: int


def climb(
    fields: Mapping[str, Field],
    sources: Sequence[TensorSource],
    types: Iterable[QuantType],
    *,
    converted: bool,
) -> tuple[Rung, ...]:
    """The model in each of these types, in their order, but for those that its tensors cannot
    have. `converted`: it comes from a checkpoint, as `lay_out` would have it, and not from a GGUF.
    """
    long = {key: field for key, field in fields.items() if _is_long_text_list(field)}
    short = {key: field for key, field in fields.items() if key not in long}
    long_bytes = sum(_encoded_bytes(key, field) for key, field in long.items())
    layout = lay_out_quantization(short, sources, QuantOptions(QuantType.Q8_0))
    quantized = _base(layout, long_bytes)
    floats = quantized
    if converted:
        floats = _base(lay_out(short, sources, QuantOptions(QuantType.F32)), long_bytes)
    traits = ModelTraits.from_metadata({key: field.value for key, field in short.items()})
    shapes = [TensorShape(s.name, s.shape, TensorType[s.lossless]) for s in quantized.sources]
    rungs = []
    for type_ in types:
        if converted and type_ in _FLOATS:
            rungs.append(_as_converter(type_, floats))
        elif rung := _mixed(type_, quantized, shapes, traits):
            rungs.append(rung)
    return tuple(rungs)


def _as_converter(type_: QuantType, base: _Base) -> Rung:
    """F32, F16 or BF16, where only small tensors stay F32."""
    types = [source.converted(type_) for source in base.sources]
    return _rung(type_, base, types)


def _mixed(
    type_: QuantType, base: _Base, shapes: Sequence[TensorShape], traits: ModelTraits
) -> Rung | None:
    options = QuantOptions(type_)
    every = {shape.name for shape in shapes}
    for weighed in (None, every):
        try:
            types = choose_types(options, shapes, traits, weighed)
        except UnsupportedError:
            continue
        return _rung(type_, base, types, needs_imatrix=weighed is not None)
    return None


def _rung(
    quant: QuantType, base: _Base, types: Sequence[TensorType], *, needs_imatrix: bool = False
) -> Rung:
    made = [
        (source, kept_type(source) or chosen)
        for source, chosen in zip(base.sources, types, strict=True)
    ]
    tensors = tuple(TypedTensor(source.name, type_, source.shape) for source, type_ in made)
    data = sum(align(type_.row_bytes(source.columns) * source.rows) for source, type_ in made)
    return Rung(quant, base.header_bytes + data, tensors, needs_imatrix)


def _base(layout: FileLayout, long_bytes: int) -> _Base:
    sources = tuple(tensor.source for tensor in layout.tensors)
    table = [TensorLayout(s.name, TensorType.F32, s.shape, 0) for s in sources]
    without_padding = len(encode_header(layout.fields.items(), table, alignment=1))
    return _Base(sources, align(without_padding + long_bytes))


def _is_long_text_list(field: Field) -> bool:
    value = field.value
    return field.item_type is ValueType.STRING and isinstance(value, list) and len(value) > _LONG


def _encoded_bytes(key: str, field: Field) -> int:
    """The length of a list of texts in a header: eight bytes and its own for each."""
    assert isinstance(field.value, list)
    empty = encode_header([(key, replace(field, value=[]))], [], alignment=1)
    texts = "".join(map(str, field.value)).encode("utf-8", "surrogateescape")
    return len(empty) - len(encode_header([], [], alignment=1)) + 8 * len(field.value) + len(texts)
