"""Guesses at what a text says next, from what stands in it already. Nothing here knows a model.

A text that quotes, rewrites or repeats goes on as it did the last time the same few tokens came.
Several guesses are read in one batch with the token that is due, which takes little longer than
that token alone; those that turn out right have cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PromptLookup"]

_RUN = 3
"""So many tokens must be the same: two of them recur by chance."""
_FIRST = 4
"""Guesses at a time, to begin with."""
_LOOK_BACK = 24
"""Guesses that the share of right ones is of."""
_WORTHWHILE = 0.35
"""Below that share of right ones it pauses: a wrong guess takes about a twentieth of a token's
time, and there is more to lose than to win."""
_FIRST_PAUSE = 32
_LONGEST_PAUSE = 512
"""Tokens. Each pause after no success is twice as long as the one before."""


class PromptLookup:
    """The runs of tokens of one text, and how good guesses were. `most` at a time."""

    def __init__(self, tokens: Sequence[int], most: int) -> None:
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        """Where each run of tokens, but for the last one of the text, ended the last time."""
        self._most = most
        self._length = min(_FIRST, most)
        self._guessed: list[bool] = []
        self._pause = 0
        self._next_pause = _FIRST_PAUSE
        self._add(tokens)

    def guess(self, limit: int) -> list[int]:
        """What may come next: none, or at most `limit`."""
        if self._pause or len(self._tokens) < _RUN:
            return []
        end = self._ends.get(tuple(self._tokens[-_RUN:]))
        if end is None:
            return []
        return self._tokens[end : end + min(limit, self._length)]

    def learn(self, tokens: Sequence[int], guessed: int) -> None:
        """The text went on with `tokens`, all but the last of which had been guessed, together
        with others, `guessed` in all."""
        right = len(tokens) - 1
        self._add(tokens)
        self._pause = max(0, self._pause - len(tokens))
        if not guessed:
            return
        if right == guessed:
            self._length = min(self._most, 2 * self._length)
        else:
            self._length = max(2, min(self._length, right + 2, self._most))
        self._guessed += [True] * right + [False] * (guessed - right)
        del self._guessed[:-_LOOK_BACK]
        share = sum(self._guessed) / len(self._guessed)
        if len(self._guessed) >= _LOOK_BACK // 2 and share < _WORTHWHILE:
            self._pause, self._guessed = self._next_pause, []
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
        elif share > 2 * _WORTHWHILE:
            self._next_pause = _FIRST_PAUSE

    def _add(self, tokens: Sequence[int]) -> None:
        # The run that ends the text is entered when it is followed by something.
        for token in tokens:
            if len(self._tokens) >= _RUN:
                self._ends[tuple(self._tokens[-_RUN:])] = len(self._tokens)
            self._tokens.append(token)
