"""Token ids of one text by llama.cpp and by the checkpoint's own tokenizer, and why they differ."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localq.messages import Message, msg

__all__ = ["Difference", "TokenIds", "UNEXPLAINED"]

_SHOWN = 4
_CONTROL = ("<", "[")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two ways of writing a text part, why (None: that is not known), and whether it
    matters."""

    where: Message
    cause: Message | None
    advice: Message


UNEXPLAINED = msg(
    "may matter: the model learned the checkpoint's own form; look whether its replies are odd"
)


class TokenIds:
    """`tokenize` is llama.cpp's, `tokens` the texts of the vocabulary."""

    def __init__(self, tokens: Sequence[str], tokenize: Callable[[str], Sequence[int]]) -> None:
        self._tokens = tokens
        self._tokenize = tokenize

    def difference(
        self, text: str, ours: Sequence[int], theirs: Sequence[int]
    ) -> Difference | None:
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
        return Difference(where, *self._cause(text, ours, theirs, at))

    def _cause(
        self, text: str, ours: Sequence[int], theirs: Sequence[int], at: int
    ) -> tuple[Message | None, Message]:
        if ours and list(ours[1:]) == list(theirs):
            return (
                msg("llama.cpp begins every text with {token!r}", token=self._text(ours[0])),
                msg("matters little: the model reads one token more, and most answer as well"),
            )
        composed = unicodedata.normalize("NFC", text)
        if composed != text and list(self._tokenize(composed)) == list(theirs):
            return (
                msg("llama.cpp does not bring a text into its composed form, NFC"),
                msg("matters only for accents that are characters of their own, which are rare"),
            )
        for id_ in ours[at : at + 2]:
            token = self._text(id_)
            marks = token.startswith(_CONTROL) and len(token) > 1
            if marks and token in text and id_ not in theirs[at : at + 2]:
                return (
                    msg("llama.cpp takes {token!r} in a text for a control token", token=token),
                    msg("matters only where a message quotes such tokens"),
                )
        return None, UNEXPLAINED

    def _shown(self, ids: Sequence[int]) -> str:
        return ", ".join(f"{id_} {self._text(id_)!r}" for id_ in ids[:_SHOWN]) or "nothing"

    def _text(self, id_: int) -> str:
        return self._tokens[id_] if id_ < len(self._tokens) else ""
