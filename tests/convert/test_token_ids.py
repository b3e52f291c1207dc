"""The ids llama.cpp gives with localq's vocabulary are those of the tokenizers library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localq.convert.vocabulary import TokenizerFiles
from localq.convert.vocabulary.huggingface import load_tokenizer
from localq.engine.client import Engine, LoadSettings
from tests.sentencepiece_tokenizer import fast_tokenizer, write_unigram_tokenizer
from tests.token_texts import make_texts
from tests.vocabulary_files import tokenizer_files, write_vocabulary_file

_NFC = "llama.cpp composes no characters (NFC)"
_END = "llama.cpp takes any '</s>' for an end token, here it is an ordinary piece of markup"
_NORMALIZED = "this file finds its special tokens only after a space (`normalized`), llama.cpp all"
_MARKS = "llama.cpp strips all marks with the accents (Mc, Me), BERT only those of category Mn"
_JAMO = "llama.cpp does not take Korean syllables apart when it strips accents"
_TABLES = "the two know different versions of Unicode; and Korean syllables, as above"
_LENGTH = "words of more than 100 characters are unknown to BERT, not to llama.cpp"
_WORD_MARK = "llama.cpp begins words with this sign, and so finds a word where BERT sees a sign"
_CONTROL = "a control character to BERT, white space to llama.cpp"

KNOWN_DIFFERENCES: dict[str, dict[str, str]] = {
    "tokenizers/llama2": {"begin-and-end": _NORMALIZED, "unknown-token": _NORMALIZED},
    "tokenizers/qwen2.5": {"combining": _NFC, "begin-and-end": _END},
    "tokenizers/qwen3": {"combining": _NFC, "begin-and-end": _END},
    "tokenizers/bert": {
        "korean": _JAMO,
        "indic": _MARKS,
        "keycaps": _MARKS,
        "long-word": _LENGTH,
        "long-number": _LENGTH,
        "next-line": _CONTROL,
        "random-characters": _TABLES,
        "word-mark": _WORD_MARK,
    },
}
"""Tokenizer -> text -> why llama.cpp's ids are others; nothing in the metadata could change it."""

UNIGRAM_DIFFERENCES = {"next-line": "white space to the WhitespaceSplit step, not to llama.cpp"}

TOKENIZERS = (
    "tokenizers/llama2",
    "tokenizers/llama3",
    "tokenizers/mistral-v0.3",
    "tokenizers/phi3",
    "tokenizers/qwen2.5",
    "tokenizers/qwen3",
    "tokenizers/gpt2",
    "tokenizers/smollm2",
    "tokenizers/bert",
    "models/tiny-wiki-llama",
    "models/stories260K-hf",
)

Encode = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def texts(material: Path) -> dict[str, str]:
    return make_texts(material)


def reference(files: TokenizerFiles) -> Encode:
    if files.tokenizer_json is None:
        tokenizer = fast_tokenizer(files.sentencepiece_path)
    else:
        tokenizer = load_tokenizer(files)
    return lambda text: tokenizer.encode(text).ids


def llama_cpp(engine: Engine, files: TokenizerFiles, folder: Path) -> Encode:
    path = folder / "vocabulary.gguf"
    write_vocabulary_file(path, files)
    engine.load(LoadSettings(path=path))
    return engine.tokenize


def different(texts: dict[str, str], ours: Encode, theirs: Encode) -> set[str]:
    return {name for name, text in texts.items() if ours(text) != theirs(text)}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_are_the_tokenizers(
    name: str, material: Path, tmp_path: Path, engine: Engine, texts: dict[str, str]
) -> None:
    files = tokenizer_files(material / name)
    theirs = reference(files)
    ours = llama_cpp(engine, files, tmp_path)
    if name == "tokenizers/bert":
        # The engine leaves the token off that ends a text: a prompt is there to be continued.
        separator = theirs("")[-1]
        encode = ours
        ours = lambda text: [*encode(text), separator]  # noqa: E731
    assert different(texts, ours, theirs) == KNOWN_DIFFERENCES.get(name, {}).keys()


def test_unigram_ids_are_the_tokenizers(
    material: Path, tmp_path: Path, engine: Engine, texts: dict[str, str]
) -> None:
    """A SentencePiece Unigram trained here, as tokenizer.json has those of XLM-RoBERTa."""
    root = tmp_path / "unigram"
    root.mkdir()
    write_unigram_tokenizer(root, material / "corpora" / "tinyshakespeare.txt")
    files = tokenizer_files(root)
    tokenizer = load_tokenizer(files)
    end = tokenizer.encode("").ids[-1]
    ours = llama_cpp(engine, files, tmp_path)
    found = different(
        texts, lambda text: [*ours(text), end], lambda text: tokenizer.encode(text).ids
    )
    assert found == UNIGRAM_DIFFERENCES.keys()
