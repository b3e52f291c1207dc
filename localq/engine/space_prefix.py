"""The space before a text of some SentencePiece tokenizers: before the very first word and no
other (`prepend_scheme` "first").

llama.cpp puts it after every special token as well, or nowhere. Converted models of the kind
therefore say "nowhere", so that chats are read right by every program, and name the scheme beside
it; here the first word gets its space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from localq.engine.llama_options import metadata_text

__all__ = ["PREPEND_SCHEME", "SpacePrefix"]

PREPEND_SCHEME = "tokenizer.ggml.prepend_scheme"
_FOUND_FIRST = 1 | 8 | 16  # LLAMA_TOKEN_ATTR_UNKNOWN, _CONTROL, _USER_DEFINED
_LONGEST_SPECIAL = 512


class SpacePrefix:
    """What the vocabulary of a loaded model wants."""

    def __init__(self, api: Any, model: Any, vocab: Any) -> None:
        self._api = api
        self._vocab = vocab
        self._first = metadata_text(api, model, PREPEND_SCHEME) == "first"

    def of(self, text: str, tokenize: Callable[[str], Sequence[int]]) -> str:
        """The text as llama.cpp must get it; `tokenize` gives the ids of one as it stands."""
        if not self._first or not text or text[0] == " ":
            return text
        start = tokenize(text[:_LONGEST_SPECIAL])
        if start and self._api.llama_vocab_get_attr(self._vocab, start[0]) & _FOUND_FIRST:
            return text
        return f" {text}"
