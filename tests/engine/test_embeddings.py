"""Vectors and scores over a pretended llama.cpp: every token's vector is [how many there are up to
it, the sum of them]."""

from __future__ import annotations

import base64
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.engine.embedding_job import EmbeddingJob
from localq.engine.embedding_requests import Embedded, Pooling, Vectors
from localq.engine.embedding_result import Input, VectorCollector, batches
from localq.engine.embeddings import Embeddings
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaModel
from localq.engine.protocol import Failed, Ranked, Reply
from localq.engine.settings import LoadSettings
from localq.errors import EngineError
from tests.engine.fake_llama import FakeLlama

WIDTH = 2


class Desk:
    """Embeddings with their requests and replies."""

    def __init__(self, llama: FakeLlama, *, limit: int = 4096) -> None:
        self.llama = llama
        settings, log = LoadSettings(Path("model.gguf")), LogTail(llama)
        self.replies: dict[int, list[Reply]] = {}
        model = LlamaModel(llama, settings, log)
        self.embeddings = Embeddings(model, settings, log, limit, self.send)

    def send(self, id_: int, reply: Reply) -> None:
        self.replies.setdefault(id_, []).append(reply)

    def add(self, id_: int, texts: list[list[int]], **settings: Any) -> EmbeddingJob:
        settings = {"width": WIDTH, "normalize": False, **settings}
        job = EmbeddingJob.of(id_, texts, cancelled=threading.Event(), **settings)
        self.embeddings.add(job)
        return job

    def run(self) -> None:
        steps = 0
        while self.embeddings.busy:
            self.embeddings.step()
            steps += 1
            assert steps < 1000

    def vectors(self, id_: int) -> list[list[float]]:
        *parts, done = self.replies[id_]
        assert isinstance(done, Embedded)
        collector = VectorCollector(len(done.tokens))
        for part in parts:
            assert isinstance(part, Vectors)
            collector.take(part)
        return [text.values.tolist() for text in collector.texts(done)]


@pytest.fixture
def llama() -> FakeLlama:
    llama = FakeLlama()
    llama.n_ctx_train = 4096
    return llama


def pooled(tokens: list[int], pooling: Pooling) -> list[float]:
    rows = [(float(i + 1), float(sum(tokens[: i + 1]))) for i in range(len(tokens))]
    if pooling == "none":
        return [number for row in rows for number in row]
    if pooling == "mean":
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return list(rows[0 if pooling == "cls" else -1])


TEXTS = st.lists(st.lists(st.integers(1, 98), min_size=1, max_size=40), min_size=1, max_size=20)


@given(
    jobs=st.lists(st.tuples(TEXTS, st.sampled_from(["mean", "cls", "last", "none"])), max_size=4),
    encoder=st.booleans(),
)
def test_every_text_gets_its_own_vector(jobs: list[tuple[Any, Any]], encoder: bool) -> None:
    llama = FakeLlama()
    llama.encoder = encoder
    desk = Desk(llama)
    for id_, (texts, pooling) in enumerate(jobs):
        desk.add(id_, texts, pooling=pooling)
    desk.run()
    for id_, (texts, pooling) in enumerate(jobs):
        wanted = [pytest.approx(pooled(text, pooling)) for text in texts]
        assert desk.vectors(id_) == wanted
    assert not llama.cells or encoder  # nothing is left in the memory


def test_short_texts_of_several_requests_are_read_together(llama: FakeLlama) -> None:
    desk = Desk(llama)
    for id_ in range(5):
        desk.add(id_, [[1, 2, 3]] * 4)
    desk.run()
    assert [len(batch) for batch in llama.batches] == [60]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "none"])
def test_a_long_text_comes_in_slices_where_the_model_can(llama: FakeLlama, pooling: Any) -> None:
    desk = Desk(llama)
    long = list(range(1, 99)) * 12
    desk.add(1, [[7], long, [8, 9]], pooling=pooling)
    desk.run()
    assert [len(batch) for batch in llama.batches] == [1, 512, 512, 152 + 2]
    assert desk.vectors(1) == [pytest.approx(pooled(t, pooling)) for t in ([7], long, [8, 9])]
    assert llama.opened[-1].n_ctx == 2048


def test_an_encoder_reads_a_text_at_once(llama: FakeLlama) -> None:
    llama.encoder = True
    desk = Desk(llama, limit=1500)
    desk.add(1, [[1] * 1200, [2, 3]])
    desk.run()
    assert [len(batch) for batch in llama.batches] == [1200, 2]
    assert llama.opened[-1].n_ubatch == 1500  # no more than the model has positions for
    assert llama.opened[-1].embeddings


def test_scores_and_vectors_take_turns(llama: FakeLlama) -> None:
    desk = Desk(llama)
    desk.add(1, [[1, 2], [3]], rank=True)
    desk.add(2, [[5]])
    desk.add(3, [[4, 4]], rank=True)
    desk.run()
    assert desk.replies[1] == [Ranked((3.0, 3.0), (2, 1))]
    assert desk.replies[3] == [Ranked((8.0,), (2,))]
    assert desk.vectors(2) == [[1.0, 5.0]]
    assert [opened.pooling_type for opened in llama.opened] == [4, 0]  # both rank together


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_a_cancel_hurts_no_other(llama: FakeLlama, pooling: Any, *, recurrent: bool) -> None:
    llama.recurrent = recurrent
    desk = Desk(llama)
    other = list(range(1, 90)) * 10
    desk.add(1, [other], pooling=pooling)
    job = desk.add(2, [[4] * 300] * 3)
    calls = 0

    def cancel() -> int:
        nonlocal calls
        calls += 1
        if calls != 2:  # the first text is read in part then, and recurrent memory is lost
            return 0
        job.cancelled.set()
        desk.embeddings.hurry(2)
        return 2

    llama.during = cancel
    desk.run()
    assert desk.replies[2][-1] == Failed("cancelled")
    assert desk.vectors(1) == [pytest.approx(pooled(other, pooling))]
    assert not llama.cells


def test_a_batch_that_fails_ends_its_requests_only(llama: FakeLlama) -> None:
    desk = Desk(llama)
    desk.add(1, [[1] * 512])
    desk.add(2, [[2] * 512])
    statuses = iter([-3, 0])
    llama.during = lambda: next(statuses)
    desk.run()
    assert isinstance(desk.replies[1][-1], Failed)
    assert desk.vectors(2) == [[256.5, 513.0]]


def test_a_context_that_does_not_fit(llama: FakeLlama) -> None:
    desk = Desk(llama)
    llama.status = -100
    desk.add(1, [[1]])
    desk.run()
    assert "no context of 512 tokens" in str(desk.replies[1][-1])
    llama.status = 0
    desk.add(2, [[1]])
    desk.run()
    assert desk.vectors(2) == [[1.0, 1.0]]


def test_vectors_have_the_length_one_and_as_many_numbers_as_wanted(llama: FakeLlama) -> None:
    desk = Desk(llama)
    desk.add(1, [[1, 2, 5]], pooling="last", normalize=True)
    desk.add(2, [[1, 2, 5]], pooling="last", normalize=True, width=1)
    desk.run()
    length = (3 * 3 + 8 * 8) ** 0.5
    assert desk.vectors(1) == [pytest.approx([3 / length, 8 / length])]
    assert desk.vectors(2) == [[1.0]]


def test_long_answers_come_in_parts() -> None:
    width = 1 << 16
    job = EmbeddingJob.of(
        *(1, [[1] * 40]), cancelled=threading.Event(), width=width, pooling="none", normalize=False
    )
    rows = array("f", [float(i) for i in range(40) for _ in range(width)])
    parts = job.take(job.texts[0], rows.tobytes(), width)
    assert [part.rows for part in parts] == [32, 8]
    assert b"".join(base64.b64decode(part.data) for part in parts) == rows.tobytes()


@given(
    sizes=st.lists(st.integers(0, 3 << 20), max_size=8),
    many=st.integers(0, 600),
)
def test_requests_are_not_too_large(sizes: list[int], many: int) -> None:
    inputs: list[Input] = [*(range(size) for size in sizes), *(["text"] * many)]
    runs = list(batches(inputs)) if inputs else []
    assert [one for run in runs for one in run] == inputs
    for run in runs:
        assert 1 <= len(run) <= 256
        assert len(run) == 1 or sum(map(len, run)) <= 4 << 20


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [Vectors(1, 1, "AACAPwAAgD8=")],
        [Vectors(0, 1, "AACAPw==")],
        [Vectors(0, 2, "AACAPwAAgD8=")],
        [Vectors(0, 1, "no base64 at all")],
    ],
)
def test_vectors_that_are_none(parts: list[Vectors]) -> None:
    def collect() -> None:
        collector = VectorCollector(1)
        for part in parts:
            collector.take(part)
        list(collector.texts(Embedded(2, "mean", (3,))))

    with pytest.raises(EngineError, match="cannot be read"):
        collect()
