"""Which of llama.cpp's pre-tokenizers a byte-level BPE tokenizer needs.

GGUF does not carry the splitting rules, only a name for them (`tokenizer.ggml.pre`). llama.cpp's
converter finds the name by encoding a fixed text and looking the ids' hash up in a list of
published tokenizers. localq does the same, and where the hash is not known it derives the name
from the rules in tokenizer.json, so that a new fine-tune or a newly trained tokenizer converts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from localq.convert.vocabulary.published import PUBLISHED_HASHES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PreTokenizer", "find_pre_tokenizer"]

_CHECK_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫\ufe0f (multiple "
    "emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333"
    " 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天"
    "～ ------======= нещо на Български ''''''```````\"\"\"\"......!!!"
    "!!!?????? I've been 'told he's there, 'RE you sure? 'M not s"
    "ure I'll make it, 'D you like some tea? We'Ve a'lL"
)

_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_BY_RULES: Mapping[tuple[str, ...], str] = {
    ("gpt2",): "gpt-2",
    ("digits:1", "gpt2"): "smollm",
    (f"split:{_GPT2_PATTERN}",): "gpt-2",
    (f"split:{_LLAMA3_PATTERN}",): "llama-bpe",
    (f"split:{_QWEN2_PATTERN}",): "qwen2",
}
"""The splitting rules, in order, that llama.cpp's `src/llama-vocab.cpp` has under each name."""


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """`exact` is False where no pre-tokenizer of llama.cpp is known to split the same way."""

    name: str
    exact: bool


def find_pre_tokenizer(tokenizer: Tokenizer, description: Mapping[str, Any]) -> PreTokenizer:
    """The name for `tokenizer`, whose tokenizer.json is `description`."""
    ids = tokenizer.encode(_CHECK_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    if name := PUBLISHED_HASHES.get(digest):
        return PreTokenizer(name, exact=True)
    rules = tuple(_rules(description.get("pre_tokenizer")))
    if name := _BY_RULES.get(rules):
        return PreTokenizer(name, exact=True)
    return PreTokenizer("default", exact=False)


def _rules(pre_tokenizer: object) -> Iterator[str]:
    """The splitting steps of a tokenizer.json's `pre_tokenizer`, each as a short text."""
    if not isinstance(pre_tokenizer, dict):
        return
    match pre_tokenizer.get("type"):
        case "Sequence":
            for part in pre_tokenizer.get("pretokenizers") or []:
                yield from _rules(part)
        case "ByteLevel":
            if pre_tokenizer.get("use_regex", True):
                yield "gpt2"
        case "Digits":
            yield "digits:1" if pre_tokenizer.get("individual_digits") else "digits"
        case "Split":
            pattern = pre_tokenizer.get("pattern")
            pattern = pattern if isinstance(pattern, dict) else {}
            yield f"split:{pattern.get('Regex', pattern.get('String'))}"
        case other:
            yield f"{other}"
