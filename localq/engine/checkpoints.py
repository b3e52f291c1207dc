"""What memories that cannot be cut back held at some earlier tokens. Nothing here knows a model.

A recurrent layer keeps one state, a sliding window the latest tokens alone: to go back, a copy of
them from there must have been kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localq.engine.prefix_tree import PrefixTree

__all__ = ["EVERY", "Checkpoint", "Checkpoints"]

EVERY = 512
"""Tokens of a prompt between two of them."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    length: int
    """So many tokens had been read."""
    data: bytes


class Checkpoints:
    """As many as `most_bytes` hold; those used longest ago go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._tree = PrefixTree()
        self._data: dict[int, bytes] = {}
        self._bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._data)

    @property
    def nbytes(self) -> int:
        return self._bytes

    def has(self, tokens: Sequence[int]) -> bool:
        """Whether there is one right behind `tokens`."""
        found = self._tree.prefixes(tokens)
        return bool(found) and found[0].length == len(tokens)

    def add(self, tokens: Sequence[int], data: bytes) -> None:
        """Keep what there is behind `tokens`."""
        if len(data) > self._most or self.has(tokens):
            return
        self._next += 1
        self._tree.add(self._next, tokens)
        self._data[self._next] = data
        self._bytes += len(data)
        while self._bytes > self._most:
            oldest = next(iter(self._tree))
            self._tree.remove(oldest)
            self._bytes -= len(self._data.pop(oldest))

    def latest(self, tokens: Sequence[int]) -> Checkpoint | None:
        """The last one that `tokens` goes through."""
        for match in self._tree.prefixes(tokens)[:1]:
            self._tree.touch(match.key)
            return Checkpoint(match.length, self._data[match.key])
        return None
