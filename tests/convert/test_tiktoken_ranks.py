"""Lists of tiktoken's ranks: Kimi's and Hunyuan's vocabularies, and broken files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary import TokenizerFiles
from localq.convert.vocabulary.tiktoken_ranks import HUNYUAN, KIMI, byte_letters, write_ranks
from localq.engine.client import Engine, LoadSettings
from localq.errors import BadFileError
from localq.services.doctor.template import vocabulary_file
from tests.tekken_tokenizer import KIMI_CONFIG, KIMI_SIZE, write_ranks_file
from tests.token_texts import make_texts

_ENDING = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_NOT_HAN = r"&&[^\p{Han}]"
KIMI_PATTERN = "|".join(
    [
        r"[\p{Han}]+",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}{_NOT_HAN}]*[{_LOWER}{_NOT_HAN}]+{_ENDING}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}{_NOT_HAN}]+[{_LOWER}{_NOT_HAN}]*{_ENDING}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def write_kimi(root: Path, material: Path) -> TokenizerFiles:
    root.mkdir()
    write_ranks_file(root / KIMI.file, material)
    (root / "tokenizer_config.json").write_text(json.dumps(dict(KIMI_CONFIG)), encoding="utf-8")
    return TokenizerFiles(root, {"vocab_size": KIMI_SIZE})


@pytest.fixture
def kimi(material: Path, tmp_path: Path) -> TokenizerFiles:
    return write_kimi(tmp_path / "kimi", material)


def llama_cpp(engine: Engine, files: TokenizerFiles, folder: Path) -> Callable[[str], list[int]]:
    """llama.cpp's ids with localq's vocabulary."""
    path = folder / "vocabulary.gguf"
    vocabulary_file.write_vocabulary_file(path, fields_of(files), "kimi", KIMI_SIZE)
    engine.load(LoadSettings(path=path))
    return engine.tokenize


def fields_of(files: TokenizerFiles) -> FieldBuilder:
    fields = FieldBuilder()
    write_ranks(files, fields, KIMI)
    return fields


def as_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """The same by the tokenizers library, which merges in the order of the ranks."""
    fields = fields_of(files)
    tokens, merges = (fields.get(f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    assert isinstance(tokens, list)
    assert isinstance(merges, list)
    pairs = [(left, right) for left, _, right in (str(merge).partition(" ") for merge in merges)]
    vocab = {str(text): i for i, text in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(KIMI_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = [str(text) for text in tokens[KIMI_SIZE - 256 :]]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return tokenizer


def test_ids_are_those_of_the_ranks(kimi: TokenizerFiles, material: Path, tmp_path: Path) -> None:
    theirs = as_tokenizer(kimi)
    with Engine() as engine:
        ours = llama_cpp(engine, kimi, tmp_path)
        begin = ours("")
        different = [
            name
            for name, text in make_texts(material).items()
            if ours(text) != [*begin, *theirs.encode(text).ids]
        ]
    assert not different


def test_every_rank_and_special_token_has_its_place(kimi: TokenizerFiles) -> None:
    fields = fields_of(kimi)
    tokens = fields.get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    first = KIMI_SIZE - 256
    assert tokens[first : first + 4] == [
        "[BOS]",
        "[EOS]",
        "<|im_end|>",
        f"<|reserved_token_{first + 3}|>",
    ]
    assert fields.get("tokenizer.ggml.bos_token_id") == first
    assert fields.get("tokenizer.ggml.pre") == "kimi-k2"
    letters = byte_letters()
    lines = (kimi.root / KIMI.file).read_bytes().split()[::2]
    texts = ["".join(letters[b] for b in base64.b64decode(line)) for line in lines]
    assert tokens[:first] == texts


def test_hunyuans_special_tokens_follow_the_ranks(kimi: TokenizerFiles) -> None:
    (kimi.root / KIMI.file).rename(kimi.root / HUNYUAN.file)
    ranks = KIMI_SIZE - 256
    files = TokenizerFiles(kimi.root, {"vocab_size": ranks + 212})
    assert HUNYUAN.is_in(files)
    fields = FieldBuilder()
    write_ranks(files, fields, HUNYUAN)
    tokens = fields.get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    assert tokens[ranks : ranks + 6] == [*HUNYUAN.texts[:5], "<|extra_0|>"]
    assert tokens[-3:] == ["<|extra_204|>", f"[PAD{ranks + 210}]", f"[PAD{ranks + 211}]"]


@pytest.mark.parametrize(
    "line", ["", "x", "YQ==", "YQ== x", "YQ== 5", "==== 0", "YQ== -1", "YWJj 99999999999"]
)
def test_lines_that_are_no_ranks_are_refused(kimi: TokenizerFiles, line: str) -> None:
    path = kimi.root / KIMI.file
    path.write_text(f"YmM= 0\n{line}\n" + path.read_text())
    with pytest.raises(BadFileError, match=r"line \d+ is no token and its rank"):
        fields_of(kimi)


def test_without_a_byte_it_is_refused(kimi: TokenizerFiles) -> None:
    path = kimi.root / KIMI.file
    lines = [line for line in path.read_text().splitlines() if not line.startswith("YQ== ")]
    path.write_text("".join(f"{line.split()[0]} {i}\n" for i, line in enumerate(lines)))
    with pytest.raises(BadFileError, match="does not have every byte"):
        fields_of(kimi)
