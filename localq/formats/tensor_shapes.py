"""The shape that each tensor of a GGUF must have, by what the file's own metadata says.

llama.cpp refuses a model of which one tensor has another shape; here it is known from a header,
before anything is written or loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from localq.formats.shape_rules import RULES, RULES_OF, Shape
from localq.formats.shape_sizes import NotSaidError, Sizes

__all__ = ["CHECKED_ARCHITECTURES", "WrongShape", "expected_shape", "wrong_shapes"]


class _NamedShape(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Shape: ...


@dataclass(frozen=True, slots=True)
class WrongShape:
    """A tensor's shape and the one that it should have."""

    name: str
    shape: Shape
    expected: Shape


CHECKED_ARCHITECTURES = frozenset(RULES_OF)

_LAYER = re.compile(r"blk\.(\d{1,4})\.")


def expected_shape(metadata: Mapping[str, object], name: str) -> Shape | None:
    """The shape of the tensor `name`; None where no rule or too little is known of it."""
    own = RULES_OF.get(str(metadata.get("general.architecture")))
    layer = _LAYER.match(name)
    stem, _, suffix = name[layer.end() if layer else 0 :].rpartition(".")
    if suffix not in ("weight", "bias"):
        stem, suffix = f"{stem}.{suffix}".lstrip("."), ""
    if own is None:
        return None
    rule = own.get(stem) or RULES.get(stem)
    if rule is None:
        return None
    try:
        shape = rule(Sizes(metadata, int(layer[1]) if layer else 0))
    except NotSaidError:
        return None
    return shape[1:] if suffix == "bias" and len(shape) > 1 else shape


def wrong_shapes(
    metadata: Mapping[str, object], tensors: Iterable[_NamedShape]
) -> Iterator[WrongShape]:
    """The tensors that llama.cpp would not take, in their order."""
    for tensor in tensors:
        expected = expected_shape(metadata, tensor.name)
        if expected is not None and _bare(tensor.shape) != _bare(expected):
            yield WrongShape(tensor.name, tensor.shape, expected)


def _bare(shape: Shape) -> Shape:
    """Without the last dimensions that are 1, which mean nothing."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
