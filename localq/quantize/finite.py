"""Numbers that are none: in which row NaN or infinity stands.

A codec makes an ordinary number of a NaN without a word, so the rows are looked at as they are
stored, before they are encoded, and what was encoded afterwards. Both are two passes over whole
integers, above a bound of which all that is no number stands: 4 to 13 million numbers a
millisecond, and no copy. llama.cpp's `ggml_validate_row_data` refuses the same bytes, but is
slower, prints on stderr, and does not say where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from localq.formats.rows import SourceType
from localq.formats.types import TensorType

__all__ = ["row_not_finite"]

Bytes = npt.NDArray[np.uint8]


class _Float(NamedTuple):
    """A float of `size` bytes at byte `offset` of every block.

    Sign aside, its bits are no number from `bound` on: infinity, where the kind has one, and above
    it the NaNs. `signed` is False for a bare exponent.
    """

    size: int
    bound: int
    offset: int = 0
    signed: bool = True


_F64 = _Float(8, 0x7FF0_0000_0000_0000)
_F32 = _Float(4, 0x7F80_0000)
_F16 = _Float(2, 0x7C00)
_BF16 = _Float(2, 0x7F80)
_E4M3 = _Float(1, 0x7F)
_E5M2 = _Float(1, 0x7C)
_E8M0 = _Float(1, 0xFF, signed=False)

_PLAIN: Mapping[SourceType, _Float] = {
    "F64": _F64,
    "F32": _F32,
    "F16": _F16,
    "BF16": _BF16,
    "F8_E4M3": _E4M3,
    "F8_E5M2": _E5M2,
}


def _f16(*offsets: int) -> tuple[_Float, ...]:
    return tuple(_F16._replace(offset=offset) for offset in offsets)


_SCALES: Mapping[TensorType, tuple[_Float, ...]] = {
    **dict.fromkeys(
        (
            *(TensorType.Q1_0, TensorType.Q2_0, TensorType.Q4_0, TensorType.Q5_0, TensorType.Q8_0),
            *(TensorType.IQ1_S, TensorType.IQ2_XXS, TensorType.IQ2_XS, TensorType.IQ2_S),
            *(TensorType.IQ3_XXS, TensorType.IQ3_S, TensorType.IQ4_NL, TensorType.IQ4_XS),
        ),
        _f16(0),
    ),
    **dict.fromkeys((TensorType.Q4_1, TensorType.Q5_1, TensorType.Q8_1), _f16(0, 2)),
    **dict.fromkeys((TensorType.Q4_K, TensorType.Q5_K), _f16(0, 2)),
    TensorType.Q2_K: _f16(80, 82),
    TensorType.Q3_K: _f16(108),
    TensorType.Q6_K: _f16(208),
    TensorType.Q8_K: (_F32,),
    TensorType.TQ1_0: _f16(52),
    TensorType.TQ2_0: _f16(64),
    TensorType.MXFP4: (_E8M0,),
}
"""The floats of each type's block, from llama.cpp `ggml/src/ggml-common.h`. IQ1_M's is scattered;
every byte is a scale in NVFP4; the integer types have none."""


def row_not_finite(dtype: SourceType, data: Bytes, row_bytes: int) -> int | None:
    """The first row that holds NaN or infinity; None where all are numbers.

    `data` are contiguous rows of `row_bytes`, as `dtype` stores them: read from a file, or about
    to be written.

    What this asks of an encoder: that a scale which overflows is stored as infinity, as ggml does,
    so that it is seen in what was written. One that decodes on its way may look at the stored
    numbers itself, instead of having them passed through here before; then it reports whether all
    were finite, writes anything where they were not, and this is asked for the row.
    """
    if (plain := _PLAIN.get(dtype)) is not None:
        return _find(plain, data, plain.size, row_bytes)
    type_ = TensorType[dtype]
    if type_ is TensorType.IQ1_M:
        scales = _iq1_m_scales(data)
        return _find(_F16, scales, _F16.size, row_bytes // type_.block_bytes * _F16.size)
    for scale in _SCALES.get(type_, ()):
        if (row := _find(scale, data, type_.block_bytes, row_bytes)) is not None:
            return row
    return None


def _find(kind: _Float, data: Bytes, step: int, row_bytes: int) -> int | None:
    """Look at the float in every `step` bytes."""
    bits = _bits(kind, data, step, "u")
    if not bits.size:
        return None
    # Among unsigned integers the negative floats come last, among signed ones the positive.
    sign = 1 << (8 * kind.size - 1) if kind.signed else 0
    if int(bits.max()) < sign + kind.bound and not (
        kind.signed and int(_bits(kind, data, step, "i").max()) >= kind.bound
    ):
        return None
    sizes = bits & np.array(sign - 1, bits.dtype) if kind.signed else bits
    return int(np.argmax(sizes >= kind.bound)) // (row_bytes // step)


def _bits(kind: _Float, data: Bytes, step: int, sign: str) -> npt.NDArray[Any]:
    """The float in every `step` bytes as signed or unsigned integers ("i", "u"), in place."""
    integer = f"<{sign}{kind.size}"
    if step == kind.size:
        return data.view(integer)
    fields = {"names": ["it"], "formats": [integer], "offsets": [kind.offset], "itemsize": step}
    return data.view(np.dtype(fields))["it"]  # type: ignore[call-overload]


def _iq1_m_scales(data: Bytes) -> Bytes:
    """The float16 of each IQ1_M block, four bits of which lie at the top of each of its last
    four integers, the lowest first."""
    last = data.reshape(-1, TensorType.IQ1_M.block_bytes)[:, 48:]
    scales = (last.copy().view("<u2") >> 12) @ np.array([1, 1 << 4, 1 << 8, 1 << 12], "<u2")
    found: Bytes = scales.view(np.uint8)
    return found
