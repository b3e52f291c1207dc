"""localq's own encoders beside the engine's: the same bytes, or the engine's are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from localq.errors import UsageError
from localq.formats.types import TensorType
from localq.quantize.codecs import build, check, library
from localq.quantize.codecs.fast import FAST_TYPES, NEED_MATRIX, FastCodecs
from localq.quantize.codecs.lattices import LATTICES, lattice_points
from localq.quantize.codecs.library import (
    Absent,
    EncoderLibrary,
    InstructionSet,
    Lattice,
    load_library,
)
from localq.quantize.finite import row_not_finite
from localq.quantize.native import Bytes, Codecs, load_codecs
from tests.quantize.number_families import ENDS_LATTICES, NUMBERS, UNUSUAL, WEIGHTS, Make, as_bf16

Floats = npt.NDArray[np.float32]

COLUMNS = 1536
PLAIN_TYPES = tuple(type_ for type_ in FAST_TYPES if type_ not in NEED_MATRIX)
SLOW_TYPES = (TensorType.IQ2_XS, TensorType.IQ2_S)
"""For which the engine makes tables for seconds."""


def of_types(types: Iterable[TensorType]) -> pytest.MarkDecorator:
    """For each of the types."""
    return pytest.mark.parametrize(
        "type_",
        [
            pytest.param(type_, id=type_.name, marks=[pytest.mark.slow] * (type_ in SLOW_TYPES))
            for type_ in types
        ],
    )


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoders, compiled from the sources as they are now."""
    if build.up_to_date(build.SOURCES / build.FILE_NAME):
        return build.SOURCES / build.FILE_NAME
    try:
        return build.build(tmp_path_factory.mktemp("codecs") / build.FILE_NAME)
    except build.CannotCompile as error:
        pytest.skip(f"the encoders cannot be compiled here: {error}")


@pytest.fixture(params=list(InstructionSet), ids=lambda instructions: instructions.label)
def encoders(
    request: pytest.FixtureRequest, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> EncoderLibrary:
    monkeypatch.setenv(library.CODECS_VARIABLE, request.param.name)
    try:
        return load_library(compiled)
    except Absent as absent:
        pytest.skip(str(absent))


def by_engine(type_: TensorType, numbers: Floats, weights: Floats | None = None) -> Bytes:
    room = np.empty(type_.row_bytes(numbers.size), np.uint8)
    return load_codecs().encode(type_, numbers, room, COLUMNS, weights)


@cache
def lattice(encoders: EncoderLibrary, type_: TensorType) -> Lattice | None:
    if (shape := LATTICES.get(type_)) is None:
        return None
    points = lattice_points(type_, load_codecs())
    assert points is not None
    return encoders.lattice(points, shape.levels, shape.distances)


def encode(
    encoders: EncoderLibrary,
    type_: TensorType,
    dtype: str,
    stored: Bytes,
    room: Bytes,
    weights: Floats | None = None,
) -> int:
    engine, tables = load_codecs().quantize_address, lattice(encoders, type_)
    return encoders.encode(type_, dtype, stored, room, COLUMNS, weights, engine, tables)


def by_us(
    encoders: EncoderLibrary,
    type_: TensorType,
    stored: npt.NDArray[np.generic],
    weights: Floats | None = None,
    dtype: str = "F32",
) -> tuple[Bytes, int]:
    """The bytes, and how many numbers were left to the engine: all of them where one was of a row
    whose blocks depend on each other."""
    elements = stored.size if dtype != "F32" else stored.view(np.uint8).size // 4
    room = np.zeros(type_.row_bytes(elements), np.uint8)
    left = encode(encoders, type_, dtype, stored.view(np.uint8), room, weights)
    if left >= 0:
        return room, left
    theirs = by_engine(type_, np.ascontiguousarray(stored, np.float32), weights)
    if left == library.NOT_FINITE:
        assert row_not_finite(type_.name, theirs, theirs.size) is not None
    else:
        assert weights is not None
    return theirs, elements


def weights_for(type_: TensorType) -> Mapping[str, Make]:
    """The engine ends the process where neighbours' distances are not below all floats."""
    if type_ not in LATTICES:
        return WEIGHTS
    return {name: make for name, make in WEIGHTS.items() if name not in ENDS_LATTICES}


def differing(type_: TensorType, ours: Bytes, theirs: Bytes) -> int:
    blocks = (ours != theirs).reshape(-1, type_.block_bytes)
    return int(blocks.any(axis=1).sum())


def families(seed: int, count: int, kinds: object = None) -> Iterator[tuple[str, Floats]]:
    rng = np.random.default_rng(seed)
    for name, make in (NUMBERS if kinds is None else UNUSUAL).items():
        with np.errstate(over="ignore"):
            yield name, np.ascontiguousarray(make(rng, count), np.float32)


@of_types(PLAIN_TYPES)
def test_the_same_bytes(encoders: EncoderLibrary, type_: TensorType) -> None:
    for name, numbers in families(1, 4 * COLUMNS):
        ours, left = by_us(encoders, type_, numbers)
        assert differing(type_, ours, by_engine(type_, numbers)) == 0, name
        assert left == 0, name


@of_types(FAST_TYPES)
def test_the_same_bytes_with_an_importance_matrix(
    encoders: EncoderLibrary, type_: TensorType
) -> None:
    rng = np.random.default_rng(2)
    for kind, make in weights_for(type_).items():
        weights = make(rng, COLUMNS).astype(np.float32)
        for name, numbers in families(3, 2 * COLUMNS):
            ours, _ = by_us(encoders, type_, numbers, weights)
            theirs = by_engine(type_, numbers, weights)
            assert differing(type_, ours, theirs) == 0, f"{name}, weights {kind}"


@of_types(PLAIN_TYPES)
def test_unusual_numbers_are_left_to_the_engine(
    encoders: EncoderLibrary, type_: TensorType
) -> None:
    """Those that are none, or too large for the type, are refused, and all others encoded."""
    all_left = 0
    for name, numbers in families(4, 4 * COLUMNS, UNUSUAL):
        ours = np.zeros(type_.row_bytes(numbers.size), np.uint8)
        left = encode(encoders, type_, "F32", numbers.view(np.uint8), ours)
        if type_ in LATTICES and not (np.abs(numbers) < 1e9).all():
            # Here the engine would end the process: it is not asked for a single block.
            assert left == (library.LEFT_ALL if np.isfinite(numbers).all() else library.NOT_FINITE)
            continue
        theirs = by_engine(type_, numbers)
        finite = (
            np.isfinite(numbers).all() and row_not_finite(type_.name, theirs, ours.size) is None
        )
        assert (left == library.NOT_FINITE) == (not finite), name
        if finite:
            assert differing(type_, ours, theirs) == 0, name
            assert 0 <= left <= numbers.size, name
            all_left += left
    assert all_left > 0


@pytest.mark.parametrize("rows", [1, 2, 3, 11])
@of_types(PLAIN_TYPES)
def test_any_number_of_rows_from_any_stored_type(
    encoders: EncoderLibrary, type_: TensorType, rows: int
) -> None:
    """Also at odd addresses, and nothing beyond the target's end is written."""
    numbers = 0.02 * np.random.default_rng(5).standard_normal(rows * COLUMNS, np.float32)
    half = as_bf16(numbers)
    stored: dict[str, npt.NDArray[np.generic]] = {
        "F32": numbers,
        "F16": numbers.astype(np.float16),
        "BF16": half,
    }
    values = {
        "F32": numbers,
        "F16": numbers.astype(np.float16).astype(np.float32),
        "BF16": (half.astype(np.uint32) << 16).view(np.float32),
    }
    for dtype, array in stored.items():
        shifted = np.empty(array.nbytes + 1, np.uint8)
        shifted[1:] = array.view(np.uint8)
        size = type_.row_bytes(numbers.size)
        room = np.full(size + 64, 0xA5, np.uint8)
        encode(encoders, type_, dtype, shifted[1:], room[:size])
        assert differing(type_, room[:size], by_engine(type_, values[dtype])) == 0, dtype
        assert (room[size:] == 0xA5).all()


@of_types(FAST_TYPES)
@pytest.mark.parametrize("weighed", [False, True], ids=["plain", "weighed"])
def test_the_check_accepts_what_is_equal(
    encoders: EncoderLibrary, type_: TensorType, weighed: bool
) -> None:
    fast = FastCodecs(load_codecs(), encoders)
    assert fast.prepare(type_, weighed=weighed) == (weighed or type_ in PLAIN_TYPES)


@pytest.fixture(scope="session")
def fused(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders whose compiler was allowed to fuse multiplications with additions."""
    target = tmp_path_factory.mktemp("fused") / build.FILE_NAME
    return build.build(target, extra_flags=("-ffp-contract=fast", "-mfma", "-O2"))


@pytest.mark.parametrize("weighed", [False, True], ids=["plain", "weighed"])
def test_the_check_catches_fused_arithmetic(
    fused: Path, encoders: EncoderLibrary, weighed: bool
) -> None:
    fast = FastCodecs(load_codecs(), load_library(fused))
    for type_ in FAST_TYPES if weighed else PLAIN_TYPES:
        assert type_ in SLOW_TYPES or not fast.prepare(type_, weighed=weighed), type_


class OtherEngine(Codecs):
    """Writes one byte otherwise, as a later llama.cpp might."""

    def __init__(self) -> None:
        self.__dict__.update(load_codecs().__dict__)

    def encode(
        self,
        type_: TensorType,
        source: Floats,
        target: Bytes,
        columns: int,
        weights: Floats | None = None,
    ) -> Bytes:
        written = super().encode(type_, source, target, columns, weights)
        written[written.size // 2] ^= 1
        return written


def test_an_engine_that_writes_other_bytes_does_its_own_work(encoders: EncoderLibrary) -> None:
    fast = FastCodecs(OtherEngine(), encoders)
    numbers, room = check.numbers(), np.empty(1 << 20, np.uint8)
    for type_ in PLAIN_TYPES:
        assert type_ in SLOW_TYPES or not fast.prepare(type_, weighed=False)
        assert fast.encode(type_, "F32", numbers.view(np.uint8), room, check.COLUMNS) is None
    report = fast.report()
    assert report.instructions is None
    assert "other bytes" in (report.reason or "")


def test_a_type_is_not_encoded_before_it_was_checked(encoders: EncoderLibrary) -> None:
    fast = FastCodecs(load_codecs(), encoders)
    numbers, room = check.numbers(), np.empty(1 << 20, np.uint8)
    assert fast.encode(TensorType.Q4_0, "F32", numbers.view(np.uint8), room, check.COLUMNS) is None


def test_what_was_left_to_the_engine_is_counted(encoders: EncoderLibrary) -> None:
    fast = FastCodecs(load_codecs(), encoders)
    fast.prepare(TensorType.Q4_K, weighed=False)
    fast.left_to_engine = 0
    numbers = np.ones(4 * COLUMNS, np.float32)
    numbers[COLUMNS] = 1.2e6
    room = np.empty(TensorType.Q4_K.row_bytes(numbers.size), np.uint8)
    data = fast.encode(TensorType.Q4_K, "F32", numbers.view(np.uint8), room, COLUMNS)
    assert data is not None
    assert data.size == room.size
    assert fast.left_to_engine == 256


def test_no_library_no_encoders(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="not compiled"):
        load_library(tmp_path / build.FILE_NAME)
    (tmp_path / build.FILE_NAME).write_bytes(b"not a library")
    with pytest.raises(Absent, match="cannot be loaded"):
        load_library(tmp_path / build.FILE_NAME)
    fast = FastCodecs(load_codecs(), Absent("they were not compiled"))
    assert not fast.prepare(TensorType.Q4_0, weighed=False)
    assert fast.report().reason == "they were not compiled"


def test_a_library_of_other_sources_is_not_called(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_VERSION", 0)
    with pytest.raises(Absent, match="another version"):
        load_library(compiled)


def test_the_variable(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.CODECS_VARIABLE, "engine")
    with pytest.raises(Absent, match=library.CODECS_VARIABLE):
        load_library(compiled)
    monkeypatch.setenv(library.CODECS_VARIABLE, "sse9")
    with pytest.raises(UsageError, match="sse9"):
        load_library(compiled)


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / build.FILE_NAME
    monkeypatch.setenv("CC", "false")
    with pytest.raises(build.CannotCompile, match="false"):
        build.build(target)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(build.CannotCompile, match="no-such-compiler"):
        build.build(target)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.CannotCompile, match="no C compiler"):
        build.build(target)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(build.CannotCompile, match="aarch64"):
        build.build(target)
    assert not list(tmp_path.iterdir())


SLOW_NUMBERS = 100_000_000


@pytest.fixture
def all_encoders(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> list[EncoderLibrary]:
    """Those for every instruction set of this processor."""
    found = []
    for instructions in InstructionSet:
        monkeypatch.setenv(library.CODECS_VARIABLE, instructions.name)
        with suppress(Absent):
            found.append(load_library(compiled))
    return found or pytest.skip("this processor has no AVX2")


@pytest.mark.slow
@pytest.mark.parametrize("weighed", [False, True], ids=["plain", "weighed"])
@pytest.mark.parametrize("type_", FAST_TYPES, ids=lambda type_: type_.name)
def test_a_hundred_million_numbers(
    all_encoders: list[EncoderLibrary], type_: TensorType, weighed: bool
) -> None:
    if type_ in NEED_MATRIX and not weighed:
        pytest.skip("nobody encodes it without an importance matrix")
    count, kinds = 64 * COLUMNS, list(weights_for(type_).items())
    seen = seed = 0
    left = [0] * len(all_encoders)
    rng = np.random.default_rng(6)
    while seen < SLOW_NUMBERS:
        kind, make = kinds[seed % len(kinds)]
        weights = make(rng, COLUMNS).astype(np.float32) if weighed else None
        for name, numbers in families(seed, count):
            theirs = by_engine(type_, numbers, weights)
            for i, encoders in enumerate(all_encoders):
                ours, by_engine_too = by_us(encoders, type_, numbers, weights)
                at = f"{name}, seed {seed}, {encoders.instructions.label}, weights {kind}"
                assert differing(type_, ours, theirs) == 0, at
                left[i] += by_engine_too
            seen += count
        seed += 1
    # With ordinary weights none is; among these there are some that no model has.
    assert weighed or not any(left)
