"""Guesses at what a text says next, from what stands in it already. Nothing here knows a model.

A text that quotes, rewrites or repeats goes on as it did the last time the same few tokens came.
Several guesses are read in one batch with the token that is due; `speculation` says whether that
pays.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PromptLookup"]

_RUN = 3
"""So many tokens must be the same: two of them recur by chance."""


class PromptLookup:
    """The runs of tokens of one text."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        """Where each run of tokens, but for the last one of the text, ended the last time."""
        self.add(tokens)

    def guess(self, most: int) -> list[int]:
        """What may come next: none, or at most `most`."""
        if len(self._tokens) < _RUN:
            return []
        end = self._ends.get(tuple(self._tokens[-_RUN:]))
        return [] if end is None else self._tokens[end : end + most]

    def add(self, tokens: Sequence[int]) -> None:
        """The text went on with these."""
        # The run that ends the text is entered when it is followed by something.
        for token in tokens:
            if len(self._tokens) >= _RUN:
                self._ends[tuple(self._tokens[-_RUN:])] = len(self._tokens)
            self._tokens.append(token)
