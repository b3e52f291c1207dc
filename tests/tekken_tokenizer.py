"""Small tokenizers that are lists of ranks, made of GPT-2's first merges: Mistral's tekken.json and
Kimi's tiktoken.model."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["KIMI_CONFIG", "KIMI_SIZE", "TEKKEN_SIZE", "make_tekken", "write_ranks_file"]

_SPECIAL = 24
_MERGES = 232
TEKKEN_SIZE = _SPECIAL + 256 + _MERGES
_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tekken(material: Path, *, version: str = "v7") -> dict[str, Any]:
    """The content of the file: `TEKKEN_SIZE` tokens, the special ones not named."""
    tokens = _tokens(material)
    return {
        "config": {
            "pattern": _PATTERN,
            "num_vocab_tokens": len(tokens),
            "default_vocab_size": TEKKEN_SIZE,
            "default_num_special_tokens": _SPECIAL,
            "version": version,
        },
        "vocab": [
            {
                "rank": rank,
                "token_bytes": base64.b64encode(token).decode(),
                "token_str": token.decode("utf-8", "replace"),
            }
            for rank, token in enumerate(tokens)
        ],
    }


_RANKS = 256 + _MERGES + 20
KIMI_SIZE = _RANKS + 256
KIMI_CONFIG: Mapping[str, Any] = {
    "added_tokens_decoder": {
        str(_RANKS + i): {"content": text, "special": True}
        for i, text in ((0, "[BOS]"), (1, "[EOS]"), (2, "<|im_end|>"), (10, "[EOT]"))
    },
    "bos_token": "[BOS]",
    "eos_token": "[EOS]",
    "tokenizer_class": "TikTokenTokenizer",
}
"""moonshotai/Kimi-K2-Instruct: 256 tokens after the ranks, few of them named."""


def write_ranks_file(path: Path, material: Path) -> None:
    """A file of `KIMI_SIZE` - 256 ranks as tiktoken has it."""
    lines = (
        base64.b64encode(token) + f" {rank}\n".encode()
        for rank, token in enumerate(_tokens(material))
    )
    path.write_bytes(b"".join(lines))


@cache
def _tokens(material: Path) -> tuple[bytes, ...]:
    path = material / "tokenizers" / "gpt2" / "tokenizer.json"
    merges = json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]
    tokens = dict.fromkeys(bytes([byte]) for byte in range(256))
    for merge in merges[: 2 * _MERGES]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        tokens[_bytes(left) + _bytes(right)] = None
    return tuple(tokens)[: 256 + _MERGES + 20]  # more than are used


def _bytes(text: str) -> bytes:
    """Of GPT-2's letters for bytes."""
    return bytes(_BYTE_OF[letter] for letter in text)


def _byte_of() -> dict[str, int]:
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(0x100 + i): byte for i, byte in enumerate(hidden)}


_BYTE_OF = _byte_of()
