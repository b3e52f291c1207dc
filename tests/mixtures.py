"""Published models in their full size, from `tests/data/mixtures/<model>.json`: headers only.

Those files hold a model's config, its tensors' shapes and which type llama-quantize gives each
tensor for every file type; `tests/reference/make_mixtures.py` made them. No weight exists here.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from localq.convert.checkpoint import Checkpoint
from localq.convert.families import family_of
from localq.convert.model import ConvertedModel
from localq.convert.source_tensor import SourceTensor
from localq.errors import UnsupportedError
from localq.formats.safetensors import TensorInfo
from localq.formats.types import QuantType, TensorType
from localq.quantize.layout import lay_out_quantization
from localq.quantize.mixture import choose_types
from localq.quantize.options import QuantOptions
from localq.quantize.tensor_roles import ModelTraits, TensorShape

__all__ = [
    "MIXTURES",
    "NEEDS_MATRIX",
    "REFUSED",
    "Mixture",
    "Model",
    "Shapes",
    "convert_headers",
    "describe",
    "fold",
    "read_mixture",
    "unfold",
]

MIXTURES = Path(__file__).parent / "data" / "mixtures"
REFUSED, NEEDS_MATRIX = "refused", "needs an importance matrix"

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name -> shape, the slowest dimension first as in checkpoints."""

_DTYPE, _BYTES = "BF16", 2
_RANGE = re.compile(r"\{(\d+)-(\d+)\}")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)")


@dataclass(frozen=True)
class Mixture:
    """A record. `types` describes for each file type what llama-quantize chooses, `with_matrix`
    what it chooses with an importance matrix of all tensors."""

    config: Mapping[str, Any]
    tensors: Shapes
    types: Mapping[str, str]
    with_matrix: Mapping[str, str]


def read_mixture(name: str) -> Mixture:
    record = json.loads((MIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    types = record["types"]
    return Mixture(
        record["config"], unfold(record["tensors"]), types, {**types, **record["with_matrix"]}
    )


class Model:
    """A converted model as the rules of the mixtures see it, tensors in llama.cpp's order."""

    def __init__(self, converted: ConvertedModel) -> None:
        layout = lay_out_quantization(
            converted.fields, converted.tensors, QuantOptions(QuantType.Q8_0)
        )
        sources = [tensor.source for tensor in layout.tensors]
        self.shapes = [TensorShape(s.name, s.shape, TensorType[s.lossless]) for s in sources]
        self.traits = ModelTraits.from_metadata(
            {key: field.value for key, field in layout.fields.items()}
        )
        self.names = frozenset(shape.name for shape in self.shapes)

    def types(self, quant: QuantType, *, with_matrix: bool) -> str:
        """What localq chooses, in the records' words."""
        weighed = self.names if with_matrix else None
        try:
            types = choose_types(QuantOptions(quant), self.shapes, self.traits, weighed)
        except UnsupportedError as error:
            return NEEDS_MATRIX if "importance matrix" in str(error) else REFUSED
        return describe(
            (tensor.name, tensor.shape, type_.name)
            for tensor, type_ in zip(self.shapes, types, strict=True)
        )


def convert_headers(config: Mapping[str, Any], tensors: Shapes, root: Path) -> ConvertedModel:
    """The conversion of a checkpoint of these tensors, without a vocabulary; `root` is an empty
    folder."""
    path = root / "model.safetensors"
    sources: dict[str, SourceTensor] = {}
    end = 0
    for name, shape in sorted(tensors.items()):
        info = TensorInfo(name, _DTYPE, shape, end, _BYTES * prod(shape))
        sources[name] = SourceTensor(path, info)
        end += info.nbytes
    checkpoint = Checkpoint(root, root.name, config, config["architectures"][0], sources)
    family = family_of(checkpoint)
    bare: type[Any] = type(family.__name__, (family,), {"vocabulary": lambda *_: None})
    converted: ConvertedModel = bare(checkpoint).convert()
    return converted


def describe(tensors: Iterable[tuple[str, Sequence[int], str]]) -> str:
    """Of (name, shape in ggml's order, type): how many there are of each type, and a hash of all,
    which depends on their order."""
    rows = [*tensors]
    counts = Counter(type_ for _, _, type_ in rows)
    numbers = " ".join(f"{type_}:{count}" for type_, count in sorted(counts.items()))
    lines = "".join(f"{name} {list(shape)} {type_}\n" for name, shape, type_ in rows)
    return f"{numbers} {sha256(lines.encode()).hexdigest()[:12]}"


def fold(tensors: Shapes) -> dict[str, tuple[int, ...]]:
    """Tensors of one shape in all layers (and experts) as one: `layers.{0-31}.norm.weight`."""
    found: dict[tuple[str, tuple[int, ...]], list[tuple[int, ...]]] = defaultdict(list)
    for name, shape in tensors.items():
        numbers = tuple(map(int, _NUMBER.findall(name)))
        found[_NUMBER.sub("#", name), shape].append(numbers)
    folded: dict[str, tuple[int, ...]] = {}
    for (pattern, shape), places in found.items():
        ranges = [range(min(axis), max(axis) + 1) for axis in zip(*places, strict=True)]
        if sorted(places) == list(product(*ranges)):
            folded[_fill(pattern, [f"{{{r.start}-{r.stop - 1}}}" for r in ranges])] = shape
        else:
            folded |= {_fill(pattern, map(str, numbers)): shape for numbers in places}
    return folded


def _fill(pattern: str, values: Iterable[str]) -> str:
    waiting = iter(values)
    return re.sub("#", lambda _: next(waiting), pattern)


def unfold(folded: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for entry, shape in folded.items() for name in _names(entry)}


def _names(entry: str) -> Iterator[str]:
    ranges = [range(int(first), int(last) + 1) for first, last in _RANGE.findall(entry)]
    pattern = _RANGE.sub("#", entry)
    for numbers in product(*ranges):
        yield _fill(pattern, map(str, numbers))
