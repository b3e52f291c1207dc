"""What kinds of tokens there are, and how many a vocabulary may have."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["MAX_VOCABULARY", "TokenType", "looks_special", "refuse_twins", "vocabulary_size"]

MAX_VOCABULARY = 4_000_000
"""Some ten times the largest published vocabulary."""


class TokenType(IntEnum):
    """GGUF spec, `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def vocabulary_size(files: TokenizerFiles) -> int | None:
    """The config's `vocab_size`, or None where it has none."""
    size = files.config.get("vocab_size")
    if size is None:
        return None
    if type(size) is not int or not 0 < size <= MAX_VOCABULARY:
        raise BadFileError(
            files.root / "config.json", msg("impossible vocab_size {size!r}", size=size)
        )
    return size


def looks_special(token: str) -> bool:
    """Tokens that checkpoints forget to mark as special (llama.cpp `does_token_look_special`)."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def refuse_twins(path: Path, tokens: Sequence[str]) -> None:
    """llama.cpp aborts the process that loads a vocabulary with the same text twice."""
    first: dict[str, int] = {}
    for i, text in enumerate(tokens):
        if first.setdefault(text, i) != i:
            raise BadFileError(
                path,
                msg(
                    "tokens {first} and {i} are both {text!r}",
                    first=first[text],
                    i=i,
                    text=text[:100],
                ),
            )
