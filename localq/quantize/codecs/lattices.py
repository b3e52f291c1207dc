"""The lattice points of IQ2 and IQ3, as the engine's decoder tells them.

A type's points are numbered; blocks in which each number stands once, with all signs positive and
the same scale, are decoded, and what comes out are the coordinates. The engine's encoder works on
the same points in the same order, and its table of neighbours follows from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from localq.formats.types import TensorType
from localq.quantize.native import Bytes, Codecs

__all__ = ["LATTICES", "Shape", "lattice_points"]


class Shape(NamedTuple):
    """A lattice of `points`, each of `dims` coordinates that take `levels` values. The neighbours
    of what is not on it are those at the `distances` smallest distances."""

    points: int
    dims: int
    levels: int
    distances: int


LATTICES: Mapping[TensorType, Shape] = {
    TensorType.IQ2_XXS: Shape(256, 8, 3, 2),
    TensorType.IQ2_XS: Shape(512, 8, 3, 2),
    TensorType.IQ2_S: Shape(1024, 8, 3, 1),
    TensorType.IQ3_XXS: Shape(256, 4, 8, 2),
    TensorType.IQ3_S: Shape(512, 4, 8, 3),
}
"""From llama.cpp `ggml/src/ggml-quants.c`, iq2xs_init_impl and iq3xs_init_impl."""


def lattice_points(type_: TensorType, engine: Codecs) -> Bytes | None:
    """points x coordinates, each from 0 to levels - 1; None if the decoder tells of others."""
    shape = LATTICES[type_]
    per_block = type_.block_elements // shape.dims
    numbers = np.arange(shape.points, dtype="<u2").reshape(-1, per_block)
    blocks = np.zeros((len(numbers), type_.block_bytes), np.uint8)
    blocks[:, :2] = np.frombuffer(np.float16(1).tobytes(), np.uint8)  # the scale
    _write_numbers(type_, numbers, blocks)
    room = np.empty(shape.points * shape.dims, np.float32)
    decoded = engine.decode(type_.name, blocks.ravel(), room)
    values, levels = np.unique(decoded, return_inverse=True)
    if len(values) != shape.levels:
        return None
    return np.ascontiguousarray(levels.reshape(shape.points, shape.dims), np.uint8)


def _write_numbers(type_: TensorType, numbers: npt.NDArray[np.uint16], blocks: Bytes) -> None:
    """Put the points' numbers where blocks have them; layouts: llama.cpp `ggml-common.h`."""
    if type_ is TensorType.IQ2_XXS:  # four bytes, then four of signs and scale
        blocks[:, 2:].reshape(-1, 8, 8)[:, :, :4] = numbers.reshape(-1, 8, 4)
    elif type_ is TensorType.IQ2_XS:  # 9 bits, with 7 of signs
        blocks[:, 2:66] = numbers.view(np.uint8)
    else:
        bytes_ = numbers.shape[1]
        blocks[:, 2 : 2 + bytes_] = numbers & 0xFF
        if type_ is TensorType.IQ2_S:  # after signs, 2 high bits each
            quarters = (numbers >> 8).reshape(-1, 8, 4) << np.arange(0, 8, 2, dtype=np.uint16)
            blocks[:, 66:74] = quarters.sum(axis=2)
        elif type_ is TensorType.IQ3_S:  # a high bit each
            high = (numbers >> 8).astype(np.uint8)
            blocks[:, 66:74] = np.packbits(high, axis=1, bitorder="little")
