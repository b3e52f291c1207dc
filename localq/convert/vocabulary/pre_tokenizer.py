"""Which of llama.cpp's pre-tokenizers a byte-level BPE tokenizer needs.

GGUF does not carry the splitting rules, only a name for them (`tokenizer.ggml.pre`). llama.cpp's
converter finds the name by encoding a fixed text and looking the ids' hash up in a list of
published tokenizers. localq does the same, and where the hash is not known it lets the tokenizer
split a text full of difficult places and takes the pre-tokenizer that cuts it in the same ones.
Two regular expressions that are spelled differently and mean the same are thus the same, and
where nothing fits, the nearest one is known too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from localq.convert.vocabulary.probe import CHECK_TEXT, probe_texts
from localq.convert.vocabulary.published import PUBLISHED_HASHES
from localq.convert.vocabulary.split_rules import SPLIT_RULES, SplitRules
from localq.convert.vocabulary.steps import steps

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer as LibraryPreTokenizer

__all__ = [
    "PreTokenizer",
    "SlowTokenizerError",
    "derive_pre_tokenizer",
    "find_pre_tokenizer",
    "published_name",
]

_PROBE_SECONDS = 5.0
"""A sane tokenizer needs some milliseconds for all texts of the probe."""

_HARMLESS_NORMALIZERS = frozenset({"NFC", "ByteLevel"})
"""llama.cpp composes no characters (NFC), which most texts are already."""

Spans = frozenset[tuple[int, int, int]]
"""The pieces of the probe: number of the text, first character, the one after the last."""


class SlowTokenizerError(Exception):
    """The tokenizer's regular expressions take unreasonably long."""


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """`exact` is False where no pre-tokenizer of llama.cpp is known to split the same way.

    `published` is False for a name that was derived, so that llama.cpp's defaults for the name
    need not be those of the tokenizer.
    """

    name: str
    exact: bool
    published: bool


def published_name(tokenizer: Tokenizer) -> str | None:
    """The name llama.cpp's list has for the ids that `tokenizer` gives for the check text."""
    ids = tokenizer.encode(CHECK_TEXT).ids
    return PUBLISHED_HASHES.get(sha256(str(ids).encode()).hexdigest())


def find_pre_tokenizer(tokenizer: Tokenizer, description: Mapping[str, Any]) -> PreTokenizer:
    """The name for `tokenizer`, whose tokenizer.json is `description`.

    Raises SlowTokenizerError for one that would keep the machine busy for minutes.
    """
    spans = _spans(tokenizer.pre_tokenizer)
    if name := published_name(tokenizer):
        return PreTokenizer(name, exact=True, published=True)
    return derive_pre_tokenizer(tokenizer, description, spans)


def derive_pre_tokenizer(
    tokenizer: Tokenizer, description: Mapping[str, Any], spans: Spans | None = None
) -> PreTokenizer:
    """As `find_pre_tokenizer`, by the rules in tokenizer.json alone."""
    own = _spans(tokenizer.pre_tokenizer) if spans is None else spans
    nearest, distance = SPLIT_RULES[0], inf
    for rules in SPLIT_RULES:
        apart = len(own ^ _rule_spans(rules))
        if apart < distance:
            nearest, distance = rules, apart
        if not apart:
            break
    model = description.get("model")
    wants_whole = isinstance(model, dict) and bool(model.get("ignore_merges"))
    name = nearest.whole if wants_whole else nearest.merged
    exact = distance == 0 and _is_plain_byte_level(description)
    if not name:
        name = nearest.merged or nearest.whole
        exact = exact and _merges_make_every_token(tokenizer)
    return PreTokenizer(name, exact, published=False)


@cache
def _rule_spans(rules: SplitRules) -> Spans:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Sequence as StepSequence
    from tokenizers.pre_tokenizers import Split

    return _spans(StepSequence([Split(Regex(rule), "isolated") for rule in rules.rules]))


def _spans(pre_tokenizer: LibraryPreTokenizer | None) -> Spans:
    spans: set[tuple[int, int, int]] = set()
    deadline = monotonic() + _PROBE_SECONDS
    for number, text in enumerate(probe_texts()):
        if pre_tokenizer is None:
            spans.add((number, 0, len(text)))
            continue
        pieces = pre_tokenizer.pre_tokenize_str(text)
        spans.update((number, start, end) for _, (start, end) in pieces)
        if monotonic() > deadline:
            raise SlowTokenizerError
    return frozenset(spans)


def _is_plain_byte_level(description: Mapping[str, Any]) -> bool:
    """Whether there is nothing else about the tokenizer that llama.cpp would not do."""
    normalizers = list(steps(description.get("normalizer")))
    splitters = list(steps(description.get("pre_tokenizer")))
    model = description.get("model")
    return (
        any(step.get("type") == "ByteLevel" for step in normalizers + splitters)
        and all(step.get("type") in _HARMLESS_NORMALIZERS for step in normalizers)
        and not any(
            step.get("type") == "ByteLevel" and step.get("add_prefix_space") for step in splitters
        )
        and isinstance(model, dict)
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
    )


def _merges_make_every_token(tokenizer: Tokenizer) -> bool:
    """Whether it is all the same if a piece that is a token is taken as it is or merged."""
    model = tokenizer.model
    added = tokenizer.get_added_tokens_decoder()
    before = model.ignore_merges
    model.ignore_merges = False
    try:
        return all(
            i in added or len(model.tokenize(text)) == 1
            for text, i in tokenizer.get_vocab(with_added_tokens=False).items()
        )
    finally:
        model.ignore_merges = before
