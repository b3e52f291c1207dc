"""Which encoder a tensor type gets: localq's own where it was seen to write the engine's bytes."""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.types import TensorType
from localq.hardware.profile import QuantizeCodecs
from localq.quantize.codecs import check
from localq.quantize.codecs.lattices import LATTICES, lattice_points
from localq.quantize.codecs.library import Absent, EncoderLibrary, Lattice, load_library
from localq.quantize.native import Bytes, Codecs, Floats, load_codecs

__all__ = ["FAST_TYPES", "FastCodecs", "load_fast_codecs"]

FAST_TYPES = tuple(
    TensorType[name]
    for name in (
        *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"),
        *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"),
        *("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
    )
)
NEED_MATRIX = (TensorType.IQ2_XXS, TensorType.IQ2_XS)
"""Types that are not encoded without an importance matrix, by anyone."""
_WITNESS = dict.fromkeys(
    (TensorType.Q4_1, TensorType.Q5_1, TensorType.Q8_0, TensorType.Q3_K, *LATTICES),
    TensorType.Q4_0,
)
"""Fused multiplications and additions hardly ever change these types' bytes, but those of another
one, which comes out of the same compiler: they are trusted together."""


class FastCodecs:
    """Encodes types that were prepared; any thread may ask. EngineError without an engine."""

    def __init__(self, engine: Codecs, library: EncoderLibrary | Absent) -> None:
        self._engine = engine
        self._library = library
        self._lattices: dict[TensorType, Lattice] = {}
        self._trusted: dict[tuple[TensorType, bool], bool] = {}
        self.left_to_engine = 0
        """Numbers so far that were out of the range for which the bytes are known to be equal."""

    @property
    def remedy(self) -> str | None:
        """What the user can do about encoders that are broken or out of date."""
        return self._library.remedy if isinstance(self._library, Absent) else None

    def prepare(self, type_: TensorType, *, weighed: bool) -> bool:
        """Whether this type is encoded here, `weighed` being with an importance matrix.

        The first time, a few thousand numbers are encoded by both: a few milliseconds.
        """
        key = (type_, weighed)
        if key not in self._trusted:
            witness = _WITNESS.get(type_)
            self._trusted[key] = self._agrees(type_, weighed=weighed) and (
                witness is None or self.prepare(witness, weighed=False)
            )
        return self._trusted[key]

    def encode(
        self,
        type_: TensorType,
        dtype: str,
        stored: Bytes,
        target: Bytes,
        columns: int,
        weights: Floats | None = None,
    ) -> Bytes | None:
        """Whole rows of `columns` numbers, stored as `dtype`, in the type: the filled part of
        `target`. None where the engine has to do it: also where not all are finite numbers, or
        some are too large for the type; what is returned needs no such check.
        """
        if not self._trusted.get((type_, weights is not None)):
            return None
        return self._encode(type_, dtype, stored, target, columns, weights)

    def report(self) -> QuantizeCodecs:
        """Compare types with the engine now, and say which are used. Those of a lattice, for which
        the engine makes tables for seconds, are compared when somebody uses them."""
        if isinstance(self._library, Absent):
            return QuantizeCodecs(None, str(self._library))
        types = [type_ for type_ in FAST_TYPES if type_ not in LATTICES]
        different = [type_.name for type_ in types if not self.prepare(type_, weighed=False)]
        label = self._library.instructions.label
        if len(different) == len(types):
            return QuantizeCodecs(None, f"it writes other bytes than localq's own ({label})")
        return QuantizeCodecs(label, None, len(types), tuple(different))

    def _encode(
        self,
        type_: TensorType,
        dtype: str,
        stored: Bytes,
        target: Bytes,
        columns: int,
        weights: Floats | None,
    ) -> Bytes | None:
        if isinstance(self._library, Absent):
            return None
        engine = self._engine.quantize_address
        lattice = self._lattices.get(type_)
        left = self._library.encode(type_, dtype, stored, target, columns, weights, engine, lattice)
        if left < 0:
            return None
        self.left_to_engine += left
        element_bytes = 4 if dtype == "F32" else 2
        return target[: stored.size // (columns * element_bytes) * type_.row_bytes(columns)]

    def _agrees(self, type_: TensorType, *, weighed: bool) -> bool:
        if type_ not in FAST_TYPES or (type_ in NEED_MATRIX and not weighed):
            return False
        if type_ in LATTICES and type_ not in self._lattices:
            self._lay_lattice(type_)
        numbers = check.numbers()
        weights = check.weights() if weighed else None
        room = np.empty((2, type_.row_bytes(numbers.size)), np.uint8)
        ours = self._encode(type_, "F32", numbers.view(np.uint8), room[0], check.COLUMNS, weights)
        if ours is None:
            return False
        theirs = self._engine.encode(type_, numbers, room[1], check.COLUMNS, weights)
        return np.array_equal(ours, theirs)

    def _lay_lattice(self, type_: TensorType) -> None:
        """Where this fails, the type has no table, and is left to the engine."""
        if isinstance(self._library, Absent):
            return
        shape = LATTICES[type_]
        points = lattice_points(type_, self._engine)
        if points is not None:
            self._lattices[type_] = self._library.lattice(points, shape.levels, shape.distances)


@cache
def load_fast_codecs() -> FastCodecs:
    """The process's encoders. EngineError where the engine's codecs cannot be loaded."""
    library: EncoderLibrary | Absent
    try:
        library = load_library()
    except Absent as absent:
        library = absent
    return FastCodecs(load_codecs(), library)
