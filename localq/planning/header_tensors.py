"""The tensors of a header, as far as memory goes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

from localq.errors import UnsupportedError
from localq.formats.types import TensorType
from localq.messages import msg

__all__ = ["TensorLike", "TensorSpec", "data_bytes"]

_MAX_SIZE = 1 << 50


class TensorLike(Protocol):
    """A tensor's entry in a header: localq.formats.gguf.GGUFTensor is one."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> TensorType | int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that is in no file; `shape` has the fastest dimension first."""

    name: str
    type: TensorType | int
    shape: tuple[int, ...]


def data_bytes(tensor: TensorLike) -> int:
    """Bytes of the tensor's data; UnsupportedError where its type is unknown."""
    type_ = tensor.type
    if not isinstance(type_, TensorType):
        raise UnsupportedError(
            msg(
                "tensor {name!r} is of type {type}, which this localq does not know",
                name=tensor.name[:100],
                type=type_,
            ),
            hint=msg("pip install --upgrade localq"),
        )
    columns = tensor.shape[0] if tensor.shape else 1
    blocks = -(-columns // type_.block_elements)
    size = blocks * type_.block_bytes * prod(tensor.shape[1:])
    if not 0 <= size <= _MAX_SIZE:
        raise UnsupportedError(
            msg("tensor {name!r} is larger than any memory", name=tensor.name[:100])
        )
    return size
