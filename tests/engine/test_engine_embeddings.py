"""Vectors and scores of real models through the engine; against transformers where torch is."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert import convert_checkpoint, open_checkpoint
from localq.engine.client import Embedding, Engine, LoadSettings, SamplingParams
from localq.engine.embedding_result import EmbeddedText
from localq.errors import Cancelled, EngineError, UnsupportedError, UsageError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.checkpoints import copy_files
from tests.engine.test_engine import DEMO, ONCE, make_gguf, unheard
from tests.families import read_family, write_family

TEXTS = ("Once upon a time", "there was a dog", "A cat sat on the mat. " * 60, "x")
ALIKE = 0.9999
"""The cosine that vectors of the same text must have."""


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"), QuantType.F32)


@pytest.fixture(scope="module")
def engine(story_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(log=tmp_path_factory.mktemp("log") / "engine.log") as engine:
        settings = LoadSettings(story_gguf, n_ctx=1024, n_threads=1, type_k="f32", type_v="f32")
        engine.load(settings)
        yield engine


def cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def vectors(embedding: Embedding) -> list[Any]:
    return [np.array(text.values).reshape(text.rows, -1) for text in embedding.texts]


def test_pooling_is_what_it_is_called(engine: Engine) -> None:
    tokens = vectors(engine.embed(TEXTS, pooling="none"))
    assert [len(rows) for rows in tokens] == [len(engine.tokenize(text)) for text in TEXTS]
    assert len(tokens[2]) > 600  # read in slices
    for pooling, wanted in (("mean", 0), ("cls", 0), ("last", -1)):
        embedding = engine.embed(TEXTS, pooling=pooling)  # type: ignore[arg-type]
        for vector, rows in zip(vectors(embedding), tokens, strict=True):
            expected = rows.mean(axis=0) if pooling == "mean" else rows[wanted]
            assert cosine(vector[0], expected) > ALIKE
            assert hypot(*vector[0]) == pytest.approx(1, abs=1e-5)
    assert engine.embed(TEXTS).pooling == "mean"  # the file says nothing


def test_alone_and_together_are_the_same(engine: Engine) -> None:
    together = vectors(engine.embed(TEXTS * 2))
    for number, text in enumerate(TEXTS):
        alone = vectors(engine.embed([text]))[0][0]
        for turn in range(2):
            assert cosine(alone, together[number + turn * len(TEXTS)][0]) > ALIKE


def test_tokens_are_taken_as_they_are(engine: Engine) -> None:
    text, tokens = engine.embed([ONCE, engine.tokenize(ONCE)]).texts
    assert text.values.tolist() == pytest.approx(tokens.values.tolist(), abs=1e-4)


def test_fewer_numbers_and_lengths_as_they_come(engine: Engine) -> None:
    whole = engine.embed([ONCE], normalize=False).texts[0].values
    assert not 0.9 < hypot(*whole) < 1.1
    first = engine.embed([ONCE], normalize=False, dimensions=5)
    assert first.width == 5
    assert first.texts[0].values == pytest.approx(whole[:5])
    assert hypot(*engine.embed([ONCE], dimensions=5).texts[0].values) == pytest.approx(1)


def test_many_texts_are_counted_as_they_are_done(engine: Engine) -> None:
    done: list[int] = []
    embedding = engine.embed(["a dog"] * 300, on_progress=done.append)
    assert done == list(range(1, 301))
    assert len(embedding.texts) == 300
    assert engine.embed([]).texts == ()


@pytest.mark.parametrize(
    ("inputs", "settings", "problem"),
    [
        ([ONCE, []], {}, "text 2 is empty"),
        ([ONCE, "a " * 1500], {}, "text 2 is .* tokens long; the model reads at most 1,024"),
        ([ONCE], {"dimensions": 65}, "vectors have 64 numbers, not 65"),
        ([[600]], {}, "invalid token 600"),
        ([[-1]], {}, "invalid token -1"),
    ],
)
def test_what_cannot_be_embedded(
    engine: Engine, inputs: Any, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises((UsageError, EngineError), match=problem):
        engine.embed(inputs, **settings)
    assert len(engine.embed([ONCE]).texts) == 1


def test_a_text_that_is_too_long_can_be_cut(engine: Engine) -> None:
    (cut,) = engine.embed(["a " * 1500], truncate=True).texts
    assert cut.tokens == 1024


@pytest.mark.parametrize("text", ["", "\0", "a\0b", "\ud800", "北京", "<s></s>" * 100])
def test_texts_of_every_kind(engine: Engine, text: str) -> None:
    (embedded,) = engine.embed([text]).texts
    assert all(-1 <= number <= 1 for number in embedded.values)


def test_a_model_that_does_not_rank(engine: Engine) -> None:
    with pytest.raises(UnsupportedError, match="gives vectors or text, and no scores"):
        engine.rank("?", ["a"])


def test_texts_are_embedded_while_others_grow(engine: Engine) -> None:
    greedy = SamplingParams(max_tokens=60, temperature=0)
    alone = engine.generate(ONCE, greedy, on_text=unheard).tokens
    expected = engine.embed(TEXTS).texts
    started = threading.Event()
    embedded: list[EmbeddedText] = []

    def embed() -> None:
        started.wait()
        embedded.extend(engine.embed(TEXTS * 3).texts)

    other = threading.Thread(target=embed)
    other.start()
    beside = engine.generate(ONCE, greedy, on_text=lambda _: started.set())
    other.join()
    assert beside.tokens == alone
    for number, text in enumerate(embedded):
        assert cosine(text.values, expected[number % len(TEXTS)].values) > ALIKE


def test_a_cancel_ends_it(engine: Engine) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        engine.embed([TEXTS[2]] * 100, cancel=cancel, on_progress=lambda done: cancel.set())
    assert len(engine.embed([ONCE]).texts) == 1


def test_a_model_loaded_for_vectors_alone(story_gguf: Path, tmp_path: Path) -> None:
    with Engine(log=tmp_path / "log") as engine:
        usual = engine.load(LoadSettings(story_gguf, n_ctx=1024))
        loaded = engine.load(LoadSettings(story_gguf, n_ctx=1024, purpose="vectors"))
        assert loaded.n_ctx == 1024
        assert sum(one.context_bytes for one in loaded.memory) < sum(
            one.context_bytes for one in usual.memory
        )
        with pytest.raises(EngineError, match="loaded for vectors and writes no text"):
            engine.generate(ONCE, SamplingParams(), on_text=unheard)
        with pytest.raises(EngineError, match="loaded for vectors"):
            engine.measure(4, 4)
        engine.save_states()
        (text,) = engine.embed([TEXTS[2]]).texts
        assert text.tokens > 512


def make_f32(root: Path, output: Path) -> Path:
    model = convert_checkpoint(open_checkpoint(root))
    layout = lay_out(model.fields, model.tensors, QuantOptions(QuantType.F32))
    write_file(output, layout, threads=1, emit=ignore, cancel=threading.Event())
    return output


def test_an_encoder_is_told_to_write(material: Path, tmp_path: Path) -> None:
    gguf = make_f32(write_family(tmp_path / "bge", "bge-tiny", material), tmp_path / "bge.gguf")
    with Engine(log=tmp_path / "log") as engine:
        assert engine.load(LoadSettings(gguf)).n_ctx == 512
        with pytest.raises(UnsupportedError, match="an encoder model does not continue text"):
            engine.generate(ONCE, SamplingParams(), on_text=unheard)
        with pytest.raises(UsageError, match="602 tokens long; the model reads at most 512"):
            engine.embed(["a " * 600])
        embedding = engine.embed(["a " * 600, ""], truncate=True)
        assert embedding.pooling == "cls"
        assert [text.tokens for text in embedding.texts] == [512, 2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("case", "pooling"),
    [("bge-tiny", "cls"), ("distilbert-tiny", "mean"), ("qwen3-embedding", "last")],
)
def test_vectors_are_transformers(case: str, pooling: str, material: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    root = write_family(tmp_path / case, case, material)
    gguf = make_f32(root, tmp_path / "model.gguf")
    texts = (*TEXTS[:2], "köln 北京 " * 60, "x")
    with Engine(log=tmp_path / "log") as engine:
        engine.load(LoadSettings(gguf, type_k="f32", type_v="f32"))
        assert engine.embed(texts).pooling == pooling
        found = {
            kind: vectors(engine.embed(texts, pooling=kind))
            for kind in ("mean", "cls", "last", "none")
        }
        # transformers reads a tokenizer.model alone only with packages of its own choice.
        read = [engine.tokenize(text) for text in texts]
    if (root / "tokenizer.json").exists():
        tokenizer = transformers.AutoTokenizer.from_pretrained(root)
        read = [tokenizer(text)["input_ids"] for text in texts]
    model = transformers.AutoModel.from_pretrained(root, dtype=torch.float32).eval()
    for number, ids in enumerate(read):
        with torch.inference_mode():
            rows = model(torch.tensor([ids])).last_hidden_state[0].numpy()
        assert len(found["none"][number]) == len(ids)
        for kind, expected in (
            ("mean", rows.mean(axis=0)),
            ("cls", rows[0]),
            ("last", rows[-1]),
        ):
            assert cosine(found[kind][number][0], expected) > ALIKE
        for row, expected in zip(found["none"][number], rows, strict=True):
            assert cosine(row, expected) > ALIKE


@pytest.mark.filterwarnings("ignore")
def test_scores_are_transformers(material: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = {**read_family("roberta-tiny").config, "num_labels": 1}
    torch.manual_seed(3)
    model = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**config))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=2 / parameter.shape[-1] ** 0.5)
    root = tmp_path / "ranker"
    model.eval().save_pretrained(root)
    copy_files(material / "tokenizers" / "gpt2", root, ("*.json", "*.txt"))
    gguf = make_f32(root, tmp_path / "model.gguf")
    documents = ["a dog is an animal", "a cat", "köln " * 50]
    with Engine(log=tmp_path / "log") as engine:
        engine.load(LoadSettings(gguf))
        scores = engine.rank("what is a dog?", documents)
        ids = [
            engine.tokenize("what is a dog?", add_special=False)
            + engine.tokenize(document, add_special=False)
            for document in documents
        ]
    expected = []
    for one in ids:
        with torch.inference_mode():
            expected.append(float(model(torch.tensor([one])).logits[0, 0]))
    assert array("d", scores) == pytest.approx(expected, abs=0.02)
    assert max(expected) - min(expected) > 0.1
