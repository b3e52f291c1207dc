"""Which sequences begin alike: a radix tree over token ids. Nothing here knows a model.

Every path from the root is the beginning of some sequence, and stands there once, however many
sequences share it, as the keys and values of those tokens stand in memory once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Match", "PrefixTree", "common_prefix"]


@dataclass(frozen=True, slots=True)
class Match:
    key: int
    """A sequence that begins with the tokens."""
    length: int
    """So many of them."""


@dataclass(slots=True)
class _Node:
    run: tuple[int, ...]
    """The tokens from the parent to here."""
    keys: set[int] = field(default_factory=set)
    """The sequences that pass through here or end here."""
    children: dict[int, _Node] = field(default_factory=dict)
    """By the first token of their runs."""


class PrefixTree:
    """Sequences by their tokens, and the order in which they were used."""

    def __init__(self) -> None:
        self._root = _Node(())
        self._sequences: dict[int, tuple[int, ...]] = {}
        """Least recently used first."""
        self._size = 0

    def __contains__(self, key: int) -> bool:
        return key in self._sequences

    def __iter__(self) -> Iterator[int]:
        """Keys, least recently used first."""
        return iter(tuple(self._sequences))

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def size(self) -> int:
        """Tokens, those that sequences share counted once."""
        return self._size

    def tokens(self, key: int) -> tuple[int, ...]:
        return self._sequences[key]

    def touch(self, key: int) -> None:
        """This one was used last."""
        self._sequences[key] = self._sequences.pop(key)

    def add(self, key: int, tokens: Sequence[int]) -> None:
        """Add a sequence, the one used last. ValueError where the key is taken."""
        if key in self._sequences:
            raise ValueError(f"sequence {key} is there already")
        self._sequences[key] = tokens = tuple(tokens)
        node, at = self._root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                node.children[tokens[at]] = _Node(tokens[at:], {key})
                self._size += len(tokens) - at
                return
            common = common_prefix(child.run, tokens[at:])
            if common < len(child.run):
                _split(child, common)
            child.keys.add(key)
            node, at = child, at + common

    def remove(self, key: int) -> int:
        """Remove a sequence; how many tokens no other one has."""
        tokens = self._sequences.pop(key)
        before = self._size
        node, at = self._root, 0
        while at < len(tokens):
            child = node.children[tokens[at]]
            child.keys.discard(key)
            if not child.keys:  # nor has any below it
                del node.children[tokens[at]]
                self._size -= len(tokens) - at
                break
            node, at = child, at + len(child.run)
        return before - self._size

    def longest(self, tokens: Sequence[int]) -> Match | None:
        """The sequence that has most of the beginning of `tokens`; of several, the one used
        last. None where no sequence has even the first."""
        tokens = tuple(tokens)
        node, at, found = self._root, 0, None
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            common = common_prefix(child.run, tokens[at : at + len(child.run)])
            at += common
            found = child
            if common < len(child.run):
                break
            node = child
        if found is None:
            return None
        key = next(k for k in reversed(self._sequences) if k in found.keys)
        return Match(key, at)

    def prefixes(self, tokens: Sequence[int]) -> list[Match]:
        """The sequences that are the beginning of `tokens` to their own end, longest first."""
        tokens = tuple(tokens)
        keys: set[int] = set()
        node, at = self._root, 0
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            if child.run != tokens[at : at + len(child.run)]:
                break
            node, at = child, at + len(child.run)
            keys |= {key for key in child.keys if len(self._sequences[key]) == at}
        matches = (Match(key, len(self._sequences[key])) for key in keys)
        return sorted(matches, key=lambda match: match.length, reverse=True)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)


def _split(node: _Node, at: int) -> None:
    """Let the node end after `at` tokens of its run; what follows becomes its only child."""
    rest = _Node(node.run[at:], set(node.keys), node.children)
    node.run, node.children = node.run[:at], {rest.run[0]: rest}
