"""Token ids of one text by llama.cpp and by the checkpoint's own tokenizer, and why they differ."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from localq.messages import Message, msg

__all__ = ["TokenIds"]

_SHOWN = 4
_CONTROL = ("<", "[")


class TokenIds:
    """`tokenize` is llama.cpp's, `tokens` the texts of the vocabulary."""

    def __init__(self, tokens: Sequence[str], tokenize: Callable[[str], Sequence[int]]) -> None:
        self._tokens = tokens
        self._tokenize = tokenize

    def difference(self, text: str, ours: Sequence[int], theirs: Sequence[int]) -> Message | None:
        """Where they part, and why, if that is known."""
        if list(ours) == list(theirs):
            return None
        pairs = zip(ours, theirs, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
        where = msg(
            "from token {at:,} on: {ours}, by the checkpoint's own tokenizer {theirs}",
            at=at,
            ours=self._shown(ours[at:]),
            theirs=self._shown(theirs[at:]),
        )
        cause = self._cause(text, ours, theirs, at)
        return msg("{where} ({cause})", where=where, cause=cause) if cause else where

    def _cause(
        self, text: str, ours: Sequence[int], theirs: Sequence[int], at: int
    ) -> Message | None:
        if ours and list(ours[1:]) == list(theirs):
            return msg("llama.cpp begins every text with {token!r}", token=self._text(ours[0]))
        composed = unicodedata.normalize("NFC", text)
        if composed != text and list(self._tokenize(composed)) == list(theirs):
            return msg("llama.cpp does not bring a text into its composed form, NFC")
        for id_ in ours[at : at + 2]:
            token = self._text(id_)
            marks = token.startswith(_CONTROL) and len(token) > 1
            if marks and token in text and id_ not in theirs[at : at + 2]:
                return msg("llama.cpp takes {token!r} in a text for a control token", token=token)
        return None

    def _shown(self, ids: Sequence[int]) -> str:
        return ", ".join(f"{id_} {self._text(id_)!r}" for id_ in ids[:_SHOWN]) or "nothing"

    def _text(self, id_: int) -> str:
        return self._tokens[id_] if id_ < len(self._tokens) else ""
