"""The name of a pre-tokenizer is found from tokenizer.json's rules, however they are spelled."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from localq.convert.vocabulary import pre_tokenizer as module
from localq.convert.vocabulary.huggingface import library_failures
from localq.convert.vocabulary.pre_tokenizer import PreTokenizer, find_pre_tokenizer
from localq.convert.vocabulary.probe import probe_texts
from localq.convert.vocabulary.split_rules import GPT2, SPLIT_RULES
from localq.errors import BadFileError

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2_BYTES = BYTES | {"use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(*regexes: str) -> list[dict[str, Any]]:
    return [
        {"type": "Split", "pattern": {"Regex": r}, "behavior": "Isolated", "invert": False}
        for r in regexes
    ]


def tokenizer(*parts: dict[str, Any], **changes: Any) -> tuple[Tokenizer, dict[str, Any]]:
    """A byte-level tokenizer with these splitting steps and no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(alphabet)} | changes.pop("extra", {})
    described: dict[str, Any] = json.loads(Tokenizer(models.BPE(vocab, [])).to_str())
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": list(parts)}
    described["model"] |= changes.pop("model", {})
    described |= changes
    return Tokenizer.from_str(json.dumps(described)), described


def derived(name: str) -> PreTokenizer:
    return PreTokenizer(name, exact=True, published=False)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("tokenizers/llama3", "llama-bpe"),
        ("tokenizers/qwen2.5", "qwen2"),
        ("tokenizers/qwen3", "qwen2"),
        ("tokenizers/gpt2", "gpt-2"),
        ("tokenizers/smollm2", "smollm"),
        ("models/tiny-wiki-llama", "gpt-2"),
    ],
)
def test_published_tokenizers_are_known_without_their_hashes(
    folder: str, name: str, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = material / folder / "tokenizer.json"
    published = find_pre_tokenizer(Tokenizer.from_file(str(path)), json.loads(path.read_text()))
    monkeypatch.setattr(module, "PUBLISHED_HASHES", {})
    alone = find_pre_tokenizer(Tokenizer.from_file(str(path)), json.loads(path.read_text()))
    assert alone == derived(name)
    assert published.name == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gpt-2", [GPT2_BYTES]),
        ("gpt-2", [*split(GPT2), BYTES]),
        ("smollm", [DIGITS, GPT2_BYTES]),  # StarCoder, Command-R, EXAONE, ...
        ("qwen2", [*split(QWEN2), BYTES]),
        ("qwen2", [*split(QWEN2.replace(r"\s*[\r\n]+", r"\s*[\r\n]")), BYTES]),  # Bailing
        ("gpt-4o", [*split(GPT4O), BYTES]),
        ("tiny_aya", [*split(r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O), BYTES]),
        ("deepseek-v3", [*split(r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3_WORDS), BYTES]),
        (
            "deepseek-coder",
            [*split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"), DIGITS, BYTES],
        ),
        ("bloom", [*split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), BYTES]),
        ("viking", [*split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), DIGITS, BYTES]),
    ],
)
def test_structures_of_published_families(name: str, parts: list[dict[str, Any]]) -> None:
    assert find_pre_tokenizer(*tokenizer(*parts)) == derived(name)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
        ),
        (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"'(?i:[sdmt]|ll|ve|re)"),
        (r"|\p{N}|", r"|\p{N}{1}|"),
        (r"|\p{N}|", r"|[\p{Nd}\p{Nl}\p{No}]|"),
        (r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\r\n\p{L}\p{N}]?+\p{L}++"),
        (r"|\s+(?!\S)|\s+", r"|\s+(?=\s|\z)|\s+"),
        (r"\p{L}", r"\p{Letter}"),
    ],
)
def test_spellings_that_mean_the_same(ours: str, theirs: str) -> None:
    regex = QWEN2.replace(ours, theirs)
    assert regex != QWEN2
    assert find_pre_tokenizer(*tokenizer(*split(regex), BYTES)) == derived("qwen2")


def test_every_rule_of_the_table_names_itself() -> None:
    for rules in SPLIT_RULES:
        model = {"ignore_merges": not rules.merged}
        found = find_pre_tokenizer(*tokenizer(*split(*rules.rules), BYTES, model=model))
        assert found == derived(rules.merged or rules.whole)


def test_the_probe_tells_all_rules_apart() -> None:
    cuts = {rules: module._rule_spans(rules) for rules in SPLIT_RULES}
    for one, other in combinations(SPLIT_RULES, 2):
        assert len(cuts[one] ^ cuts[other]) > 20, (one, other)
    assert len(probe_texts()) == len(set(probe_texts()))


def test_whether_merges_are_ignored_picks_the_name() -> None:
    llama3 = split(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))
    whole = find_pre_tokenizer(*tokenizer(*llama3, BYTES, model={"ignore_merges": True}))
    assert whole == derived("llama-bpe")
    assert find_pre_tokenizer(*tokenizer(*llama3, BYTES)) == derived("smaug-bpe")


def test_a_name_for_ignored_merges_alone_fits_where_it_makes_no_difference() -> None:
    qwen2 = (*split(QWEN2), BYTES)
    ignore = {"ignore_merges": True}
    assert find_pre_tokenizer(*tokenizer(*qwen2, model=ignore)) == derived("qwen2")
    unreachable = tokenizer(*qwen2, model=ignore, extra={"hello": 256})
    assert find_pre_tokenizer(*unreachable) == PreTokenizer("qwen2", exact=False, published=False)


def test_an_unknown_structure_gets_the_nearest_name() -> None:
    twos = split(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,2}|"))
    assert find_pre_tokenizer(*tokenizer(*twos, BYTES)) == PreTokenizer(
        "smaug-bpe", exact=False, published=False
    )
    no_spaces = ({"type": "WhitespaceSplit"}, BYTES)
    assert not find_pre_tokenizer(*tokenizer(*no_spaces)).exact


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"model": {"end_of_word_suffix": "</w>"}},
        {"model": {"continuing_subword_prefix": "##"}},
    ],
)
def test_what_llama_cpp_cannot_do_is_not_exact(changes: dict[str, Any]) -> None:
    assert not find_pre_tokenizer(*tokenizer(GPT2_BYTES, **changes)).exact


def test_a_space_put_before_texts_is_not_exact() -> None:
    assert not find_pre_tokenizer(*tokenizer(GPT2_BYTES | {"add_prefix_space": True})).exact


def test_no_splitting_at_all_is_not_exact() -> None:
    described = tokenizer()[1]
    described["pre_tokenizer"] = None
    found = find_pre_tokenizer(Tokenizer.from_str(json.dumps(described)), described)
    assert not found.exact


def test_an_endless_expression_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROBE_SECONDS", -1.0)
    with (
        pytest.raises(BadFileError, match=r"x\.json: its regular expressions take unreasonably"),
        library_failures(Path("x.json")),
    ):
        find_pre_tokenizer(*tokenizer(GPT2_BYTES))


def test_a_panic_of_the_library_is_a_bad_file() -> None:
    exploding = tokenizer(*split(r"(\s+)+$"), BYTES)
    with pytest.raises(BadFileError, match="not a usable tokenizer"), library_failures(Path("x")):
        find_pre_tokenizer(*exploding)


def test_added_tokens_do_not_count_as_unreachable() -> None:
    made, described = tokenizer(*split(QWEN2), BYTES, model={"ignore_merges": True})
    made.add_tokens([AddedToken("<tool>", special=False)])
    assert find_pre_tokenizer(made, described) == derived("qwen2")
