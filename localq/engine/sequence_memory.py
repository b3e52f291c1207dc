"""Which sequences are in llama.cpp's memory, and what of them serves the next one.

A text that has ended stays as long as nobody needs its place. A new one shares what it has in
common with any other, whether that has ended or is still being read.

llama.cpp computes for as many sequences as the context was made for, the slots; but its memory
knows 256, and what several of them have in common lies there once. So a text that has ended moves
from its slot to one of the others, the shelves. Recurrent layers have a state for each slot and
none for shelves: there, what has ended stays in its slot.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Literal, TypeAlias

from localq.engine.llama_context import LlamaContext
from localq.engine.llama_model import Recall
from localq.engine.prefix_tree import Match, PrefixTree, common_prefix
from localq.engine.sequence import Sequence

__all__ = ["Entry", "SequenceMemory"]

Entry: TypeAlias = Literal["entered", "soon", "full"]
"""Whether a sequence has a slot now; if not, it waits for one that is just reading the same, or
for room."""

_MARGIN = 32
"""Cells left for the reply of each running sequence when another one is let in."""
_WORTH_WAITING = 32
"""A prompt waits for another one that is being read if they have so many more tokens in common."""


@dataclass(frozen=True, slots=True)
class _Source:
    id: int
    length: int
    """So many tokens of it are of use."""
    whole: bool = False
    """Whether that is all it has, and nobody else uses it."""


class SequenceMemory:
    """The sequences of one context. What has ended goes when room is needed, least recently used
    first."""

    def __init__(self, context: LlamaContext, recall: Recall) -> None:
        self._context = context
        self._recall = recall
        slots = context.n_seq_max
        self._slots = list(range(slots))
        """Those that are free, as are the shelves."""
        self._shelves = list(range(slots, context.n_sequences)) if recall != "whole" else []
        self._running: dict[int, Sequence] = {}
        self._held = PrefixTree()
        """What running sequences share, with each other or with ended ones, by slot."""
        self._ended = PrefixTree()

    def enter(self, sequence: Sequence) -> Entry:
        """Give a sequence a slot, with as much of its tokens in it as there is."""
        tokens = sequence.tokens[:-1]  # the last is read in any case, for what follows it
        source = self._source(tokens)
        length = source.length if source else 0
        if self._running:
            if self._would_share_more(tokens, length):
                return "soon"
            if (
                len(self._running) >= self._context.n_seq_max
                or self._needed(sequence.tokens, length) > self._room()
            ):
                return "full"
        slot, length = self._prepare(source)
        sequence.slot, sequence.read, sequence.kept = slot, length, length
        if sequence.reused is None:
            sequence.reused = length
        self._running[slot] = sequence
        if length:
            self._held.add(slot, tokens[:length])
        return "entered"

    def leave(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Take the slot away; what has been read stays for others, unless it is of no use."""
        slot = sequence.slot
        assert slot is not None
        tokens = sequence.tokens[: sequence.read]
        self.lost(sequence)
        del self._running[slot]
        sequence.slot = None
        if keep and tokens and self._recall == "whole":
            self._ended.add(slot, tokens)
            return
        if keep and tokens:
            shelf = self._shelf()
            if self._context.copy(slot, shelf, len(tokens)):
                self._ended.add(shelf, tokens)
            else:
                self._shelves.append(shelf)
        self._context.forget(slot)
        self._slots.append(slot)

    def lost(self, sequence: Sequence) -> None:
        """What a running sequence had read is gone; it keeps its slot and is read again."""
        assert sequence.slot is not None
        sequence.read = sequence.kept = 0
        if sequence.slot in self._held:
            self._held.remove(sequence.slot)

    def make_room(self) -> bool:
        """Forget the ended sequence that was used longest ago. False: there is none."""
        for id_ in self._ended:
            self._evict(id_)
            return True
        return False

    def forget_all(self) -> None:
        """Forget what has ended. For when nothing runs."""
        while self.make_room():
            pass
        self._context.forget_all()

    def _source(self, tokens: Tokens[int]) -> _Source | None:
        """Where most of the beginning of `tokens` is."""
        found: list[_Source] = []
        found += [self._of_ended(match) for match in self._ended.prefixes(tokens)[:1]]
        if self._recall != "whole":
            if match := self._ended.longest(tokens):
                found.append(self._of_ended(match))
            for slot, other in self._running.items():
                found.append(_Source(slot, common_prefix(tokens, other.tokens[: other.read])))
        best = max(found, key=lambda one: (one.length, one.whole), default=None)
        return best if best and best.length else None

    def _of_ended(self, match: Match) -> _Source:
        return _Source(match.key, match.length, match.length == len(self._ended.tokens(match.key)))

    def _would_share_more(self, tokens: Tokens[int], length: int) -> bool:
        if self._recall != "any":
            return False
        return any(
            common_prefix(tokens, other.tokens) >= length + _WORTH_WAITING
            for other in self._running.values()
            if other.read < other.prompt_tokens
        )

    def _needed(self, tokens: Tokens[int], length: int) -> int:
        """Cells for a sequence of which `length` tokens are there; ended sequences give theirs."""
        held = self._held.longest(tokens[:length])
        return len(tokens) - (held.length if held else 0) + _MARGIN

    def _room(self) -> int:
        own = sum(len(one.tokens) - one.kept + _MARGIN for one in self._running.values())
        return self._context.n_ctx - self._held.size - own

    def _prepare(self, source: _Source | None) -> tuple[int, int]:
        """A free slot with the source's tokens in it, and how many; none where they cannot be
        continued from there."""
        if source is None:
            return self._slot(), 0
        if self._recall == "whole":
            self._ended.remove(source.id)
            if self._context.cut(source.id, source.length):
                return source.id, source.length
            self._give_back(source.id)
            return self._slot(), 0
        slot = self._slot()
        copied = self._context.copy(source.id, slot, source.length)
        if source.id in self._ended:
            if source.whole and copied:
                self._evict(source.id)  # the slot has all of it
            else:
                self._ended.touch(source.id)
        return slot, source.length if copied else 0

    def _slot(self) -> int:
        """A slot with nothing in it. There is one: fewer sequences run than there are slots."""
        if not self._slots:
            self.make_room()
        return self._slots.pop(0)

    def _shelf(self) -> int:
        if not self._shelves:
            self.make_room()
        return self._shelves.pop()

    def _evict(self, id_: int) -> None:
        self._ended.remove(id_)
        self._give_back(id_)

    def _give_back(self, id_: int) -> None:
        self._context.forget(id_)
        (self._slots if id_ < self._context.n_seq_max else self._shelves).append(id_)
