"""The C codecs of the installed llama-cpp-python: the same code that llama-quantize runs.

Only `libggml-base` is loaded, through ctypes, which lets go of the GIL during a call; so a pool
of Python threads keeps all cores busy. Functions: llama.cpp `ggml/include/ggml.h`.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localq.errors import EngineError, UnsupportedError
from localq.formats.types import TensorType
from localq.messages import msg

__all__ = ["Bytes", "Codecs", "Floats", "load_codecs"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_NAMES = {"win32": "ggml-base.dll", "darwin": "libggml-base.dylib"}
_REPAIR = "localq hardware gives the command that installs the engine anew"


@cache
def load_codecs() -> Codecs:
    """The installed codecs; EngineError says what to do where there are none."""
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise EngineError(msg("llama-cpp-python is not installed"), hint=_REPAIR)
    path = Path(spec.origin).parent / "lib" / _NAMES.get(sys.platform, "libggml-base.so")
    try:
        return Codecs(ctypes.CDLL(str(path)))
    except (OSError, AttributeError) as error:
        raise EngineError(
            msg("{path}: cannot be loaded: {error}", path=path, error=error), hint=_REPAIR
        ) from error


def _f8_table(mantissa_bits: int, bias: int, *, infinity: bool) -> Floats:
    """The value of each of the 256 bytes of an 8-bit float (OCP 8-bit floating point, 2023)."""
    values = np.empty(256, np.float64)
    for byte in range(256):
        exponent, mantissa = (byte & 0x7F) >> mantissa_bits, byte & ((1 << mantissa_bits) - 1)
        fraction = mantissa / (1 << mantissa_bits)
        size = (
            (1 + fraction) * 2.0 ** (exponent - bias) if exponent else fraction * 2.0 ** (1 - bias)
        )
        if infinity and exponent == 0x7F >> mantissa_bits:
            size = np.nan if mantissa else np.inf
        elif byte & 0x7F == 0x7F:
            size = np.nan
        values[byte] = -size if byte & 0x80 else size
    return values.astype(np.float32)


_F8_TABLES: Mapping[str, Floats] = {
    "F8_E4M3": _f8_table(3, 7, infinity=False),
    "F8_E5M2": _f8_table(2, 15, infinity=True),
}


class Codecs:
    """Rows of numbers between storage types. All arrays are contiguous."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._from_blocks: dict[TensorType, Callable[[int, int, int], None]] = {}
        self._quantize = library.ggml_quantize_chunk
        self._quantize.restype = ctypes.c_size_t
        self._quantize.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        self._init = library.ggml_quantize_init
        self._init.restype = None
        self._init.argtypes = [ctypes.c_int]
        self._to_f32: dict[str, Callable[[int, int, int], None]] = {}
        for dtype, name in (("BF16", "ggml_bf16_to_fp32_row"), ("F16", "ggml_fp16_to_fp32_row")):
            function = getattr(library, name)
            function.restype = None
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            self._to_f32[dtype] = function

    @property
    def quantize_address(self) -> int:
        """Of ggml_quantize_chunk, for C code that calls it."""
        return ctypes.cast(self._quantize, ctypes.c_void_p).value or 0

    def prepare(self, type_: TensorType) -> None:
        """Build the tables that some types need; call it before threads share the type."""
        self._init(type_.ggml_id)

    def decode(self, dtype: str, source: Bytes, target: Floats) -> Floats:
        """`source` of a SourceType as float32: `target` filled, or a view of the source."""
        if dtype in TensorType.__members__ and TensorType[dtype].is_quantized:
            return self._dequantize(TensorType[dtype], source, target)
        if (table := _F8_TABLES.get(dtype)) is not None:
            return np.take(table, source, out=target[: source.size])
        if dtype == "F32":
            # A tensor may begin at any byte; the codecs want whole words.
            if source.ctypes.data % 4 == 0:
                return source.view(np.float32)
            target.view(np.uint8)[: source.size] = source
            return target[: source.size // 4]
        if dtype == "F64":
            count = source.size // 8
            with np.errstate(over="ignore"):  # infinity is refused where it is encoded
                target[:count] = np.frombuffer(source.tobytes(), "<f8")
            return target[:count]
        count = source.size // 2
        if source.ctypes.data % 2:
            source = source.copy()
        self._to_f32[dtype](source.ctypes.data, target.ctypes.data, count)
        return target[:count]

    def _dequantize(self, type_: TensorType, source: Bytes, target: Floats) -> Floats:
        function = self._from_blocks.get(type_)
        if function is None:
            # q2_K and its like are spelt with a capital letter in ggml's C names.
            name = re.sub("_k$", "_K", type_.name.lower())
            function = getattr(self._library, f"dequantize_row_{name}", None)
            if function is None:
                raise UnsupportedError(msg("the engine cannot unpack {name}", name=type_.name))
            function.restype = None
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            self._from_blocks[type_] = function
        if source.ctypes.data % 4:
            source = source.copy()
        count = source.size // type_.block_bytes * type_.block_elements
        function(source.ctypes.data, target.ctypes.data, count)
        return target[:count]

    def encode(
        self,
        type_: TensorType,
        source: Floats,
        target: Bytes,
        columns: int,
        weights: Floats | None = None,
    ) -> Bytes:
        """`source`, whole rows of `columns`, in the type; returns the filled part of `target`.

        `weights` says of each column how much its errors matter (an importance matrix's row).
        """
        written = self._quantize(
            type_.ggml_id,
            source.ctypes.data,
            target.ctypes.data,
            0,
            source.size // columns,
            columns,
            None if weights is None else weights.ctypes.data,
        )
        return target[:written]
