"""tokenizer.model of all kinds, trained here: what llama.cpp is told of them, and the ids."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.sentencepiece_model import read_traits
from localq.engine.client import Engine, LoadSettings
from tests.vocabulary_files import tokenizer_files, write_vocabulary_file

_PREFIX = "tokenizer.ggml.add_space_prefix"
_IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
_TEXTS = ("from pathlib import Path", "  two  spaces", "ends with one ", "ﬁne (½)", "def f(x):\n")


def train(root: Path, kind: str, **options: Any) -> SentencePieceProcessor:
    trained = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(Path(__file__).read_text("utf-8").splitlines()),
        model_writer=trained,
        model_type=kind,
        vocab_size=400,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    root.mkdir(exist_ok=True)
    (root / "tokenizer.model").write_bytes(trained.getvalue())
    processor = SentencePieceProcessor()
    processor.LoadFromSerializedProto(trained.getvalue())
    return processor


def written(root: Path, *, prefix: bool = True) -> tuple[FieldBuilder, str | None]:
    fields = FieldBuilder()
    warning = write_vocabulary(tokenizer_files(root), fields, prefix=prefix)
    return fields, warning


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("unigram", {}),
        ("unigram", {**_IDENTITY, "add_dummy_prefix": False}),
        ("bpe", {**_IDENTITY, "byte_fallback": True}),
        ("bpe", {**_IDENTITY, "byte_fallback": True, "add_dummy_prefix": False}),
    ],
)
def test_ids_are_the_tokenizers(
    kind: str, options: dict[str, Any], tmp_path: Path, engine: Engine
) -> None:
    processor = train(tmp_path / "x", kind, **options)
    assert written(tmp_path / "x")[1] is None
    write_vocabulary_file(tmp_path / "x.gguf", tokenizer_files(tmp_path / "x"))
    engine.load(LoadSettings(path=tmp_path / "x.gguf"))
    for text in _TEXTS:
        assert engine.tokenize(text) == [processor.bos_id(), *processor.EncodeAsIds(text)]


def test_a_unigram_model_brings_its_normalization(tmp_path: Path) -> None:
    train(tmp_path, "unigram")
    fields, _ = written(tmp_path)
    assert fields.get("tokenizer.ggml.model") == "t5"
    assert fields.get(_PREFIX) is True
    assert fields.get("tokenizer.ggml.remove_extra_whitespaces") is True
    charsmap = fields.get("tokenizer.ggml.precompiled_charsmap")
    assert isinstance(charsmap, list)
    assert len(charsmap) > 1000
    assert fields.get("tokenizer.ggml.unknown_token_id") == 0


@pytest.mark.parametrize(
    ("kind", "options", "warning"),
    [
        ("unigram", {"byte_fallback": True}, "not as their bytes"),
        ("bpe", {"byte_fallback": True}, "does not normalise"),
        ("bpe", _IDENTITY, "ends its process"),
    ],
)
def test_what_llama_cpp_does_otherwise_is_said(
    kind: str, options: dict[str, Any], warning: str, tmp_path: Path
) -> None:
    train(tmp_path, kind, **options)
    assert warning in str(written(tmp_path)[1])


def test_families_that_tell_the_prefix_themselves(tmp_path: Path) -> None:
    train(tmp_path, "bpe", byte_fallback=True, add_dummy_prefix=False)
    assert written(tmp_path)[0].get(_PREFIX) is False
    assert written(tmp_path, prefix=False)[0].get(_PREFIX) is None


@pytest.mark.parametrize("damaged", [b"\x0a", b"\x0a\x05x", b"\x80" * 11, b"\x0b", b"\x08"])
def test_damage_is_told(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"a field|a number"):
        read_traits(damaged)
