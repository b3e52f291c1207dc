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
from typing import Any, Literal, TypeAlias

from localq.engine.checkpoints import EVERY, Checkpoint, Checkpoints
from localq.engine.llama_context import LlamaContext
from localq.engine.llama_model import LlamaModel
from localq.engine.picture_tokens import is_picture, position, whole_length
from localq.engine.prefix_tree import Match, PrefixTree, common_prefix
from localq.engine.sequence import Sequence
from localq.engine.state_store import StateStore

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
    """Where the beginning of a sequence can be had from."""

    length: int
    """So many tokens of it."""
    position: int
    """Where it goes on behind them."""
    id: int | None
    """The sequence that has them; None where a checkpoint is all that it takes."""
    whole: bool = False
    """Whether that sequence has no more than them, and has ended."""
    checkpoint: Checkpoint | None = None
    stored: int | None = None
    """Its number in the store of states on disk."""


class SequenceMemory:
    """The sequences of one context. What has ended goes when room is needed, least recently used
    first."""

    def __init__(
        self,
        context: LlamaContext,
        model: LlamaModel,
        checkpoint_bytes: int,
        states: StateStore | None = None,
    ) -> None:
        self._context = context
        self._states = states
        self._recall = recall = model.recall
        self._has_attention = model.has_attention
        self._checkpoints = Checkpoints(checkpoint_bytes)
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
        sources = self._sources(tokens)
        length = sources[0].length if sources else 0
        if self._running:
            if self._would_share_more(tokens, length):
                return "soon"
            if (
                len(self._running) >= self._context.n_seq_max
                or self._needed(sequence.tokens, length) > self._room()
            ):
                return "full"
        slot, length = self._prepare(sources)
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
            if self._context.copy(slot, shelf, position(tokens, len(tokens))):
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

    def readable(self, sequence: Sequence) -> int:
        """So many tokens can be read at once: not beyond where a checkpoint is due."""
        left = len(sequence.tokens) - sequence.read
        if self._recall == "any" or sequence.is_generating:
            return left
        due = EVERY - sequence.read % EVERY
        last = sequence.prompt_tokens - 1 - sequence.read
        if self._recall == "whole" and last > 0:
            due = min(due, last)  # the place to go back to for another reply
        return min(left, due)

    def has_read(self, sequence: Sequence) -> None:
        """Keep a checkpoint if one is due where the sequence has come to."""
        if self._recall == "any" or sequence.is_generating or sequence.slot is None:
            return
        before_last = self._recall == "whole" and sequence.read == sequence.prompt_tokens - 1
        if sequence.read % EVERY == 0 or before_last:
            self._keep_state(sequence.slot, sequence.tokens[: sequence.read])

    def save_states(self) -> None:
        """Keep on disk what has ended, the one used last at last. For when nothing runs."""
        if self._states is None:
            return
        for id_ in self._ended:
            tokens = self._ended.tokens(id_)
            if any(map(is_picture, tokens)):
                continue  # they would be numbers too large for the file
            slot = id_
            if id_ >= self._context.n_seq_max:  # llama.cpp writes nothing of use about shelves
                slot = self._slot()
                self._context.share(id_, slot, len(tokens))
            self._states.save(tokens, self._context.save(slot, partial=False))
            if slot != id_:
                self._give_back(slot)

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

    def _sources(self, tokens: Tokens[int]) -> list[_Source]:
        """Where beginnings of `tokens` are, longest first."""

        def source(length: int, id_: int | None, *, whole: bool = False, **kept: Any) -> _Source:
            uncut = whole_length(tokens, length)
            whole = whole and uncut == length
            return _Source(uncut, position(tokens, uncut), id_, whole=whole, **kept)

        def of_ended(match: Match) -> _Source:
            whole = match.length == len(self._ended.tokens(match.key))
            return source(match.length, match.key, whole=whole)

        found = [of_ended(match) for match in self._ended.prefixes(tokens)[:1]]
        longest = self._ended.longest(tokens)
        if self._recall != "whole":
            if longest:
                found.append(of_ended(longest))
            for slot, other in self._running.items():
                found.append(source(common_prefix(tokens, other.tokens[: other.read]), slot))
        if self._recall != "any":
            # Attention needs the tokens themselves beside the state behind them.
            base = longest.key if longest and self._has_attention else None
            reach = longest.length if longest else 0
            if checkpoint := self._checkpoints.latest(
                tokens[:reach] if self._has_attention else tokens
            ):
                found.append(source(checkpoint.length, base, checkpoint=checkpoint))
        found = [one for one in found if one.length]
        found.sort(key=lambda one: (one.length, one.whole), reverse=True)
        there = found[0].length if found else 0
        if self._states is not None and (stored := self._states.longer(tokens, there)):
            found.insert(0, source(stored[1], None, stored=stored[0]))
        return found

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

    def _prepare(self, sources: list[_Source]) -> tuple[int, int]:
        """A free slot with the tokens of one of the sources in it, and how many."""
        for source in sources:
            if source.id is not None and source.id in self._ended:
                self._ended.touch(source.id)
            slot = self._try(source)
            if slot is not None:
                return slot, source.length
        return self._slot(), 0

    def _try(self, source: _Source) -> int | None:
        """A slot with the source's tokens; None where they cannot be continued from there."""
        if self._recall == "whole" and source.id is not None and (source.whole or not self._slots):
            return self._take_over(source.id, source)
        if source.id is not None and not self._is_there(source.id):
            return None  # it was given up for a source before this one
        slot = self._slot()
        if source.stored is not None:
            if self._load(source.stored, slot, source.position):
                return slot
        elif source.checkpoint is None:
            assert source.id is not None
            if self._context.copy(source.id, slot, source.position):
                if source.whole:
                    self._evict(source.id)  # the slot has all of it
                return slot
        else:
            if source.id is not None:
                self._context.share(source.id, slot, source.position)
            if self._context.restore(slot, source.checkpoint.data, source.position, partial=True):
                return slot
        self._give_back(slot)
        return None

    def _load(self, number: int, slot: int, position: int) -> bool:
        """Put a state from disk into an empty slot, and forget others where there is no room."""
        data = None if self._states is None else self._states.load(number)
        while data is not None:
            if self._context.restore(slot, data, position, partial=False):
                return True
            if not self.make_room():
                break
        return False

    def _is_there(self, id_: int) -> bool:
        return id_ in self._ended or id_ in self._running

    def _take_over(self, id_: int, source: _Source) -> int | None:
        """The slot of an ended sequence itself, whose present state may be gone back to."""
        if id_ not in self._ended:
            return None
        self._keep_state(id_, self._ended.tokens(id_))
        self._ended.remove(id_)
        if source.checkpoint is None:
            if self._context.cut(id_, source.position):
                return id_
        elif self._context.restore(id_, source.checkpoint.data, source.position, partial=True):
            return id_
        self._give_back(id_)
        return None

    def _keep_state(self, id_: int, tokens: Tokens[int]) -> None:
        if not self._checkpoints.has(tokens):
            self._checkpoints.add(tokens, self._context.save(id_, partial=True))

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
        if self._recall == "whole" and not self._has_attention:
            self._keep_state(id_, self._ended.tokens(id_))  # all that it takes to come back
        self._ended.remove(id_)
        self._give_back(id_)

    def _give_back(self, id_: int) -> None:
        self._context.forget(id_)
        (self._slots if id_ < self._context.n_seq_max else self._shelves).append(id_)
