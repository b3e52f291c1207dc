"""Blocks done while their bytes arrive, over invented files, with threads and without."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError, Cancelled
from localq.formats.rows import BlockScales, FilePiece, TensorSource
from localq.formats.types import TensorType
from localq.quantize.arrival import Arrivals
from localq.quantize.blocks import Block
from localq.quantize.layout import PlacedTensor

FILES = tuple(Path(f"{letter}.safetensors") for letter in "abc")
FILE_BYTES = 4000


def content(path: Path) -> bytes:
    return np.random.default_rng(FILES.index(path)).bytes(FILE_BYTES)


def block(number: int, piece: FilePiece, first: int, rows: int) -> Block:
    source = TensorSource(f"t{number}", (piece.columns, piece.rows), (piece,))
    return Block(number, PlacedTensor(source, TensorType.F32, 0, 0), piece, first, rows, 0, 0)


@st.composite
def invented_blocks(draw: st.DrawFn) -> list[Block]:
    """Rows of matrices anywhere in the files: in order or not, transposed, with factors."""
    blocks: list[Block] = []
    for _ in range(draw(st.integers(0, 8))):
        rows, columns = draw(st.integers(1, 20)), draw(st.integers(1, 40))
        offset = draw(st.integers(0, FILE_BYTES - rows * columns * 2))
        order, scales, transposed = None, None, draw(st.booleans())
        if draw(st.booleans()):
            order = np.array(draw(st.permutations(range(columns if transposed else rows))))
        if not transposed and draw(st.booleans()):
            where = draw(st.integers(0, FILE_BYTES - 4 * rows))
            factors = FilePiece(draw(st.sampled_from(FILES)), where, "F32", rows, 1)
            scales = BlockScales(factors, 1, columns, rows)
        piece = FilePiece(
            *(draw(st.sampled_from(FILES)), offset, "F16", rows, columns, order, transposed),
            scales=scales,
        )
        step = draw(st.integers(1, piece.rows))
        for first in range(0, piece.rows, step):
            blocks.append(block(len(blocks), piece, first, min(step, piece.rows - first)))
    return blocks


def check(arrivals: Arrivals, number: int) -> None:
    for span in arrivals.blocks[number].spans:
        expected = content(span.path)[span.start : span.end]
        assert arrivals.view(span.path, span.start, span.end).tobytes() == expected


@given(invented_blocks(), st.integers(1, 700), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_block_finds_its_bytes_once(
    blocks: list[Block], chunk: int, comes_twice: bool
) -> None:
    arrivals = Arrivals(blocks, FILES, budget=1 << 20)
    assert sorted(path for unit in arrivals.units for path in unit.files) == list(FILES)
    done: list[int] = []

    def work() -> None:
        while arrivals._ready:
            number = arrivals.next()
            assert number is not None
            check(arrivals, number)
            arrivals.done(number)
            done.append(number)

    most = 0
    for unit in arrivals.units:
        for _ in range(1 + comes_twice):
            done = [number for number in done if number not in unit.blocks]
            arrivals.begin(unit)
            for path in unit.files:
                data = content(path)
                for offset in range(0, FILE_BYTES, chunk):
                    arrivals.take(path, data[offset : offset + chunk])
                    most = max(most, arrivals.held)
                    work()
        arrivals.wait(unit)
    work()
    arrivals.wait_all()
    assert sorted(done) == list(range(len(blocks)))
    assert arrivals.held == 0
    # What a chunk ends and what it begins are held together for a moment.
    assert most <= 2 * arrivals.most_held + chunk


@given(invented_blocks(), st.integers(1, 2000))
@settings(max_examples=40, deadline=None)
def test_threads_and_little_room(blocks: list[Block], budget: int) -> None:
    arrivals = Arrivals(blocks, FILES, budget)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while (number := arrivals.next()) is not None:
                check(arrivals, number)
                arrivals.done(number)
        except BaseException as error:
            failures.append(error)
            arrivals.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    bring_all(arrivals)
    arrivals.wait_all()
    arrivals.close()
    for worker in workers:
        worker.join()
    assert not failures
    assert arrivals.held == 0


def bring_all(arrivals: Arrivals) -> None:
    """Every unit by a thread of its own, as long as there is room."""

    def bring(files: Sequence[Path]) -> None:
        for path in files:
            data = content(path)
            for offset in range(0, FILE_BYTES, 300):
                arrivals.take(path, data[offset : offset + 300])

    threads = [threading.Thread(target=bring, args=(unit.files,)) for unit in arrivals.units]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_stream_waits_for_room() -> None:
    piece = FilePiece(FILES[0], 0, "F16", 40, 50)
    arrivals = Arrivals([block(i, piece, 10 * i, 10) for i in range(4)], FILES[:1], budget=2000)
    arrivals.take(FILES[0], content(FILES[0])[:2000])
    arrived = threading.Event()

    def rest() -> None:
        arrivals.take(FILES[0], content(FILES[0])[2000:])
        arrived.set()

    thread = threading.Thread(target=rest)
    thread.start()
    assert not arrived.wait(0.05)
    for _ in range(4):
        number = arrivals.next()
        assert number is not None
        check(arrivals, number)
        arrivals.done(number)
    assert arrived.wait(60)
    thread.join()


def test_whoever_waits_is_let_go() -> None:
    piece = FilePiece(FILES[0], 0, "F16", 40, 50)
    arrivals = Arrivals([block(0, piece, 0, 40)], FILES[:1], budget=10)
    stopped: list[BaseException | None] = []

    def wait() -> None:
        with pytest.raises(Cancelled) as caught:
            arrivals.wait(arrivals.units[0])
        stopped.append(caught.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    arrivals.close()
    waiting.join()
    assert len(stopped) == 1
    assert arrivals.next() is None
    with pytest.raises(Cancelled):
        arrivals.take(FILES[0], content(FILES[0]))


def test_what_a_block_found_wrong_is_told_by_its_unit_until_it_comes_again() -> None:
    piece = FilePiece(FILES[0], 0, "F16", 40, 50)
    arrivals = Arrivals([block(0, piece, 0, 40)], FILES[:1], budget=1 << 20)
    (unit,) = arrivals.units
    for wrong in (BadFileError(FILES[0], "NaN"), None):
        arrivals.begin(unit)
        arrivals.take(FILES[0], content(FILES[0]))
        number = arrivals.next()
        assert number == 0
        arrivals.done(number, suspect=wrong)
        if wrong:
            with pytest.raises(BadFileError, match="NaN"):
                arrivals.wait(unit)
        else:
            arrivals.wait(unit)


def test_matrices_that_must_wait_for_late_factors_count() -> None:
    """All factors behind all weights: then all weights are held."""
    blocks = []
    for i in range(3):
        factors = FilePiece(FILES[0], 3000 + 4 * i, "F32", 1, 1)
        scales = BlockScales(factors, 10, 100, 10)
        piece = FilePiece(FILES[0], 1000 * i, "F8_E4M3", 10, 100, scales=scales)
        blocks.append(block(i, piece, 0, 10))
    assert Arrivals(blocks, FILES, 1).most_held == 3000 + 4
