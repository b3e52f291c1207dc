"""Who reads how many tokens in the next batch. Nothing here knows a model or a clock.

Every sequence that generates gets its token in every batch, so that no text stands still. What
is left of the batch goes to the prompts that wait; while others generate, that is no more than a
slice, so that the batch is soon done. Half of it belongs to the prompt that has waited longest,
which is thus never overtaken for ever; the rest to the shortest ones, whose replies can begin at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Due", "SliceSize", "share_batch"]

_SLICE_SECONDS = 0.25
"""How long the reading of other people's prompts may hold up a text."""
_LEAST_SLICE = 16
"""Tokens: below that the weights are fetched from memory for too few of them."""
_FIRST_SLICE = 64
_FOLLOW = 0.5
"""How far one measurement moves the expectation."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a sequence could read next."""

    tokens: int
    """The rest of its prompt, or its latest token and the guesses that follow it; at least 1."""
    generating: bool


def share_batch(due: Sequence[Due], *, capacity: int, slice_tokens: int) -> list[int]:
    """How many tokens each of `due` reads in a batch of at most `capacity`, in the same order.

    `due` is in the order in which they are served when the batch is too small for all, longest
    wait first. While anyone generates, prompts get `slice_tokens` together.
    """
    shares = [0] * len(due)
    room = capacity
    generating = [i for i, one in enumerate(due) if one.generating]
    for i in generating:  # the token of each, before the guesses of any
        shares[i] = min(1, room)
        room -= shares[i]
    for i in generating:
        more = min(due[i].tokens - shares[i], room) if shares[i] else 0
        shares[i] += more
        room -= more
    if generating:
        room = min(room, slice_tokens)
    prompts = [i for i, one in enumerate(due) if not one.generating]
    if not prompts:
        return shares
    first, *others = prompts
    shares[first] = min(due[first].tokens, room - room // 2 if others else room)
    room -= shares[first]
    for i in sorted(others, key=lambda i: due[i].tokens):
        shares[i] = min(due[i].tokens, room)
        room -= shares[i]
    shares[first] += min(due[first].tokens - shares[first], room)
    return shares


class SliceSize:
    """How many prompt tokens are read in about a quarter of a second, learnt from how long the
    latest ones took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: float | None = None
        """Per token."""

    @property
    def tokens(self) -> int:
        if self._seconds is None:
            return min(_FIRST_SLICE, self._most)
        return min(self._most, max(_LEAST_SLICE, int(_SLICE_SECONDS / self._seconds)))

    def record(self, tokens: int, seconds: float) -> None:
        """A batch with `tokens` tokens of prompts took `seconds`."""
        if tokens < _LEAST_SLICE or not seconds > 0:
            return
        latest = seconds / tokens
        if self._seconds is None:
            self._seconds = latest
        else:
            self._seconds += _FOLLOW * (latest - self._seconds)
