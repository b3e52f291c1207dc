"""Mistral's own tokenizer file: ids as the tokenizers library has them, and broken files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary import TokenizerFiles
from localq.convert.vocabulary.tekken import has_tekken_alone, write_tekken
from localq.engine.client import Engine, LoadSettings
from localq.errors import BadFileError
from localq.services.doctor.template import vocabulary_file
from tests.tekken_tokenizer import TEKKEN_SIZE, make_tekken
from tests.token_texts import make_texts

SIZE_KEY = "llama.vocab_size"
Content = dict[str, Any]
EARLY = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
)
"""What the first tokens are called in files that do not name them."""


def write(root: Path, content: object) -> TokenizerFiles:
    root.mkdir(exist_ok=True)
    (root / "tekken.json").write_text(json.dumps(content), encoding="utf-8")
    return TokenizerFiles(root, {})


@pytest.fixture
def content(material: Path) -> Content:
    return make_tekken(material)


def as_tokenizer(content: Content) -> Tokenizer:
    """The same by the tokenizers library: ranks are ids after the special ones, merged lowest
    first."""
    config = content["config"]
    special, size = config["default_num_special_tokens"], config["default_vocab_size"]
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    letter = {
        byte: chr(byte if byte in shown else 0x100 + hidden.index(byte)) for byte in range(256)
    }
    tokens = [base64.b64decode(t["token_bytes"]) for t in content["vocab"][: size - special]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    text = {token: "".join(letter[byte] for byte in token) for token in tokens}
    merges = [
        (text[token[:cut]], text[token[cut:]])
        for token in tokens
        for cut in sorted(
            (cut for cut in range(1, len(token)) if {token[:cut], token[cut:]} <= ranks.keys()),
            key=lambda cut: (ranks[token[:cut]], ranks[token[cut:]]),
        )
    ]
    vocab = {name: i for i, name in enumerate(EARLY)}
    vocab |= {text[token]: special + rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(config["pattern"]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in EARLY])
    return tokenizer


def llama_cpp(engine: Engine, content: Content, folder: Path) -> Callable[[str], list[int]]:
    """llama.cpp's ids with localq's vocabulary."""
    fields = FieldBuilder()
    assert write_tekken(write(folder / "own", content), fields, size_key=SIZE_KEY) is None
    assert fields.get(SIZE_KEY) == TEKKEN_SIZE
    path = folder / "vocabulary.gguf"
    vocabulary_file.write_vocabulary_file(path, fields, "own", TEKKEN_SIZE)
    engine.load(LoadSettings(path=path))
    return engine.tokenize


def test_ids_are_those_of_the_ranks(content: Content, material: Path, tmp_path: Path) -> None:
    theirs = as_tokenizer(content)
    with Engine() as engine:
        ours = llama_cpp(engine, content, tmp_path)
        for name, text in make_texts(material).items():
            assert ours(text) == [1, *theirs.encode(text).ids], name


def test_named_special_tokens_come_first(content: Content, tmp_path: Path) -> None:
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[IMG]"]
    content["special_tokens"] = [
        {"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(names)
    ]
    fields = FieldBuilder()
    write_tekken(write(tmp_path / "own", content), fields, size_key=SIZE_KEY)
    tokens = fields.get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    assert tokens[: len(names) + 1] == [*names, "<SPECIAL_7>"]
    assert fields.get("tokenizer.ggml.padding_token_id") == 5


def test_another_way_of_splitting_is_told(content: Content, tmp_path: Path) -> None:
    content["config"]["pattern"] = r"\w+|\W+"
    fields = FieldBuilder()
    warning = write_tekken(write(tmp_path / "own", content), fields, size_key=SIZE_KEY)
    assert warning is not None
    assert "other tokens" in warning


def test_beside_a_tokenizer_json_it_is_not_read(content: Content, tmp_path: Path) -> None:
    files = write(tmp_path / "own", content)
    assert has_tekken_alone(files)
    (tmp_path / "own" / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert not has_tekken_alone(files)


BROKEN: dict[str, Any] = {
    "config": {"config": None},
    "vocab": {"vocab": {}},
    "short": {"vocab": []},
    "special_tokens": {"special_tokens": [{"rank": 1, "token_str": "<s>"}]},
    "no-text": {"special_tokens": [{"rank": 0, "token_str": 3}]},
    "twice": {"special_tokens": [{"rank": i, "token_str": "<s>"} for i in range(2)]},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused(content: Content, tmp_path: Path, change: Content) -> None:
    files = write(tmp_path / "own", content | change)
    with pytest.raises(BadFileError, match=r"tekken\.json.*not as it should be"):
        write_tekken(files, FieldBuilder(), size_key=SIZE_KEY)


@pytest.mark.parametrize("size", [0, -1, 10**12, 2.5, "512", None, True, 3, 10**6])
def test_impossible_sizes_are_refused(content: Content, tmp_path: Path, size: object) -> None:
    content["config"]["default_vocab_size"] = size
    with pytest.raises(BadFileError, match="not as it should be"):
        write_tekken(write(tmp_path / "own", content), FieldBuilder(), size_key=SIZE_KEY)


@pytest.mark.parametrize("data", ["", "====", "YQ==", base64.b64encode(b"x" * 2000).decode()])
def test_tokens_that_make_no_sense_are_refused(content: Content, tmp_path: Path, data: str) -> None:
    content["vocab"][300]["token_bytes"] = data
    with pytest.raises(BadFileError, match="not as it should be"):
        write_tekken(write(tmp_path / "own", content), FieldBuilder(), size_key=SIZE_KEY)


def test_a_token_of_no_two_others_is_refused(content: Content, tmp_path: Path) -> None:
    content["vocab"][300]["token_bytes"] = base64.b64encode(b"\xff\xfe\xfd").decode()
    with pytest.raises(BadFileError, match="token 300 is made of no two others"):
        write_tekken(write(tmp_path / "own", content), FieldBuilder(), size_key=SIZE_KEY)
