"""The compiled encoders, loaded through ctypes; a call lets go of the GIL."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localq.errors import UsageError
from localq.formats.types import TensorType
from localq.messages import msg
from localq.quantize.codecs.build import FILE_NAME

__all__ = [
    "CODECS_VARIABLE",
    "Absent",
    "EncoderLibrary",
    "InstructionSet",
    "LEFT_ALL",
    "NOT_FINITE",
    "load_library",
]

CODECS_VARIABLE = "LOCALQ_CODECS"

LEFT_ALL = -1
"""Nothing was encoded: the engine has to do it."""
NOT_FINITE = -2
"""Nothing was encoded: there is NaN or infinity, or a number too large for the type."""

_SOURCE_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
_WHOLE = 16  # of grids.h
_VERSION = 3  # localq_codecs_version of dispatch.c
_MISSING = msg("localq's own were not compiled when it was installed")
_COMPILE = msg("compile them: python -m localq.quantize.codecs.build")


class Absent(Exception):
    """Why the encoders are not used; `remedy` is what mends it, where something is amiss."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


class InstructionSet(IntEnum):
    """What the encoders are compiled for, by the library's numbers."""

    AVX2 = 1
    AVX512 = 2

    @property
    def label(self) -> str:
        return {self.AVX2: "AVX2", self.AVX512: "AVX-512"}[self]


class _Job(ctypes.Structure):
    """`job` of blocks.h"""

    _fields_ = (
        ("type", ctypes.c_int),
        ("source_type", ctypes.c_int),
        ("source", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        ("ggml", ctypes.c_void_p),
        ("place", ctypes.c_void_p),
        ("lists", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """For each point its number in the lattice, or where its neighbours are listed (grids.h)."""

    place: npt.NDArray[np.int32]
    lists: npt.NDArray[np.uint16]


class EncoderLibrary:
    """The encoders for one of the instruction sets that this processor has."""

    def __init__(self, library: ctypes.CDLL, instructions: InstructionSet) -> None:
        self.instructions = instructions
        self._encode = library.localq_codecs_encode
        self._encode.restype = ctypes.c_int64
        self._encode.argtypes = [ctypes.c_int, ctypes.c_void_p]
        self._grid = library.localq_codecs_grid
        self._grid.restype = ctypes.c_int64
        self._grid.argtypes = [ctypes.c_int] * 4 + [ctypes.c_void_p] * 3

    def encode(
        self,
        type_: TensorType,
        dtype: str,
        source: npt.NDArray[np.uint8],
        target: npt.NDArray[np.uint8],
        columns: int,
        weights: npt.NDArray[np.float32] | None,
        ggml: int,
        lattice: Lattice | None = None,
    ) -> int:
        """Encode whole rows of `columns` numbers stored as `dtype` into `target`; IQ2 and IQ3 need
        their lattice.

        `ggml` is the address of ggml_quantize_chunk, to which blocks of unusual numbers are left:
        returned is how many numbers those were, or LEFT_ALL or NOT_FINITE.
        """
        source_type = _SOURCE_TYPES.get(dtype)
        if source_type is None:
            return LEFT_ALL
        rows = source.size // (columns * (4 if dtype == "F32" else 2))
        job = _Job(
            type_.ggml_id,
            source_type,
            source.ctypes.data,
            target.ctypes.data,
            rows,
            columns,
            None if weights is None else weights.ctypes.data,
            ggml,
            None if lattice is None else lattice.place.ctypes.data,
            None if lattice is None else lattice.lists.ctypes.data,
        )
        return int(self._encode(self.instructions, ctypes.byref(job)))

    def lattice(self, points: npt.NDArray[np.uint8], levels: int, distances: int) -> Lattice:
        """The tables of a lattice of `points` (points x coordinates of `levels` values), in which
        neighbours are all at the `distances` smallest distances."""
        count, dims = points.shape
        place = np.empty(levels**dims, np.int32)
        most = place.size * (2 + -(-count // _WHOLE) * _WHOLE)
        lists = np.empty(most, np.uint16)  # of which only what is used becomes memory
        used = self._grid(
            *(dims, levels, count, distances),
            *(points.ctypes.data, place.ctypes.data, lists.ctypes.data),
        )
        return Lattice(place, lists[:used].copy())


def load_library(path: Path | None = None) -> EncoderLibrary:
    """The best encoders that this processor runs; Absent says why there are none.

    LOCALQ_CODECS may ask for less: `avx2`, or `engine` for none. UsageError for anything else.
    """
    wanted = os.environ.get(CODECS_VARIABLE, "").strip().lower()
    if wanted not in ("", "engine", "avx2", "avx512"):
        raise UsageError(
            msg(
                "{codecs_variable}: unknown codecs {wanted!r}",
                codecs_variable=CODECS_VARIABLE,
                wanted=wanted,
            ),
            hint=msg("use engine, avx2 or avx512"),
        )
    if wanted == "engine":
        raise Absent(msg("{codecs_variable} says so", codecs_variable=CODECS_VARIABLE))
    path = path or Path(__file__).with_name(FILE_NAME)
    if not path.exists():
        raise Absent(_MISSING)
    try:
        library = ctypes.CDLL(str(path))
        version, best = int(library.localq_codecs_version()), int(library.localq_codecs_best())
    except (OSError, AttributeError) as error:
        raise Absent(
            msg("localq's own cannot be loaded: {error}", error=error), _COMPILE
        ) from error
    if version != _VERSION:
        raise Absent(msg("localq's own are of another version of it"), _COMPILE)
    if not best:
        raise Absent(msg("this processor has no AVX2"))
    if wanted == "avx512" and best < InstructionSet.AVX512:
        raise Absent(msg("this processor has no AVX-512"))
    return EncoderLibrary(
        library, InstructionSet.AVX2 if wanted == "avx2" else InstructionSet(best)
    )
