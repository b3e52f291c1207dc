"""All texts that the engine is at work on: the loop that its process spends its life in.

One step is one batch: the latest token of every text that grows, and slices of the prompts that
wait. What is done with whom, and in which order, `schedule` and `sequence_memory` say.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from localq.engine.adapt import ThreadAdapter
from localq.engine.draft_model import DraftModel, Wanted
from localq.engine.llama_context import Interrupted, LlamaContext, OutOfCells, Part
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.llama_sampler import Choice, NothingAllowed
from localq.engine.picture_reader import PictureReader
from localq.engine.protocol import Failed, Piece, Reply, Stop
from localq.engine.schedule import Due, SliceSize, share_batch
from localq.engine.sequence import Sequence
from localq.engine.sequence_memory import SequenceMemory
from localq.engine.speculation import Chance, Speculation
from localq.engine.state_store import StateStore

__all__ = ["Generations"]

_SAMPLING_THREADS = 4
_WORTH_THREADS = 1 << 15
"""Logits of all texts together from which on choosing in several threads pays."""


class Generations:
    """Call `step` as long as there is something to do. `send` gets the replies.

    With `adapt` the number of threads follows how fast the machine is; see `adapt.py`.
    `checkpoint_bytes` are for memories that cannot be cut back, `states` for texts of earlier
    processes. `draft` guesses at what comes next where the text itself gives no hint.
    """

    def __init__(
        self,
        model: LlamaModel,
        context: LlamaContext,
        send: Callable[[int, Reply], None],
        *,
        adapt: bool = False,
        checkpoint_bytes: int = 0,
        states: StateStore | None = None,
        draft: DraftModel | None = None,
    ) -> None:
        self._model = model
        self._context = context
        self._send = send
        self.memory = SequenceMemory(context, model, checkpoint_bytes, states)
        self._slices = SliceSize(context.n_ubatch)
        self._speculation = Speculation(context.n_draft)
        self._draft = draft
        self._drafting_seconds = 0.0
        """What the guesses of the present batch took to make."""
        self._planned = context.n_threads, context.n_threads_batch
        self._adapters: dict[int, ThreadAdapter] | None = {} if adapt else None
        """By the number of texts that grow: each takes another time."""
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        """Those served longest ago first."""
        self._computing: frozenset[int] = frozenset()
        """The requests whose tokens are being read now."""
        self._pool: ThreadPoolExecutor | None = None
        self.pictures: PictureReader | None = None
        """Set before a text with pictures is added."""
        self._crowded = False
        """Whether the last batch found no place, so that the next one goes without guesses."""

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)

    def hurry(self, id_: int) -> None:
        """Request `id_` was cancelled: do not let it finish its batch. From any thread."""
        if id_ in self._computing and (
            self._model.recall != "whole" or len(self._computing) == 1
        ):  # else the others would have to be read again
            self._context.abort()

    def close(self) -> None:
        for sequence in (*self._waiting, *self._running):
            sequence.sampler.close()
        self._waiting.clear()
        self._running.clear()
        if self._pool:
            self._pool.shutdown()
        if self.pictures:
            self.pictures.close()

    def step(self) -> None:
        """Read one batch, choose the tokens that are due, and send what there is to show."""
        for sequence in [one for one in (*self._running, *self._waiting) if one.is_cancelled]:
            self._end(sequence, "cancelled")
        self._admit()
        if not self._running:
            return
        looked = self._read_picture()
        shares = self._shares()
        if not (parts := [self._part(one, count) for one, count in shares]):
            if self.pictures and not looked:
                self.pictures.wait()  # there is nothing else to do
            return
        self._computing = frozenset(one.id for one, _ in shares)
        self._context.clear_abort()  # from here on `hurry` has an effect
        if any(one.is_cancelled for one, _ in shares):
            return  # the next step ends them
        prompt_tokens = sum(n for one, n in shares if not one.is_generating)
        plain = not prompt_tokens and all(n == 1 for _, n in shares)
        growing = len(shares) if plain else 0
        self._set_threads(growing)
        started = time.perf_counter()
        try:
            self._context.decode(parts)
        except OutOfCells:
            if any(one.guesses for one, _ in shares):
                self._crowded = True
            else:
                self._make_room()
            return
        except Interrupted as interrupted:
            self._recover(interrupted.lost)
            return
        except LlamaError as error:
            for sequence, _ in shares:
                self._fail(sequence, Failed(str(error)))
            return
        finally:
            self._computing = frozenset()
        self._crowded = False
        due = self._count_as_read(shares)
        if prompt_tokens and not due and len(shares) > 1:
            self._context.wait()  # else nothing would, and the time below would be wrong
        choices = self._choose(due)
        self._learn(growing, prompt_tokens, time.perf_counter() - started)
        if not prompt_tokens:
            guessed = sum(len(one.guesses) for one, _ in shares)
            right = sum(max(0, len(chosen) - 1) for chosen in choices)
            seconds = time.perf_counter() - started
            drafting = self._drafting_seconds
            self._speculation.record(len(shares), guessed, right, seconds, drafting)
        for (sequence, _), chosen in zip(due, choices, strict=True):
            self._go_on(sequence, chosen)

    def _admit(self) -> None:
        for sequence in tuple(self._waiting):
            match self.memory.enter(sequence):
                case "entered":
                    self._waiting.remove(sequence)
                    self._running.append(sequence)
                case "full":  # whoever came later must not take the room that it waits for
                    break

    def _shares(self) -> list[tuple[Sequence, int]]:
        self._guess()
        due = [
            Due(self._readable(one) + len(one.guesses), one.is_generating) for one in self._running
        ]
        alone = len(due) == 1
        capacity = self._context.n_batch if alone else self._context.n_ubatch
        counts = share_batch(due, capacity=capacity, slice_tokens=self._slices.tokens)
        shares = [(one, n) for one, n in zip(self._running, counts, strict=True) if n]
        # Whoever got nothing comes first next time.
        served = {one.id for one, _ in shares}
        self._running.sort(key=lambda one: one.id in served)
        return shares

    def _readable(self, sequence: Sequence) -> int:
        """Tokens that can be read at once: up to the next picture, which is read by itself."""
        count = self.memory.readable(sequence)
        picture = sequence.pictures.next(sequence.read)
        return count if picture is None else min(count, picture.start - sequence.read)

    def _read_picture(self) -> bool:
        """Go on with one picture, if one is due; whether one was."""
        if self.pictures is None:
            return False
        self.pictures.begin(self._running)
        if (sequence := self.pictures.ready(self._running)) is None:
            return False
        self._computing = frozenset({sequence.id})
        self._context.clear_abort()
        if sequence.is_cancelled:
            return True
        try:
            self.pictures.read(sequence)
        except OutOfCells:
            self._make_room()
            return True
        except Interrupted as interrupted:
            self._recover(interrupted.lost)
            return True
        except LlamaError as error:
            self._fail(sequence, Failed(str(error)))
            return True
        finally:
            self._computing = frozenset()
        self.memory.has_read(sequence)
        return True

    def _guess(self) -> None:
        """What each text that grows might say next, as far as reading it pays."""
        for sequence in self._running:
            sequence.guesses = []
        self._drafting_seconds = 0.0
        most = self._speculation.most
        if self._crowded or not most:
            return
        growing = [one for one in self._running if one.is_generating]
        found = [(one, guesses) for one in growing if (guesses := self._look_up(one, most))]
        chances = [Chance(len(guesses), one.looked_up) for one, guesses in found]
        counts = self._speculation.plan(len(growing), chances)
        for (sequence, guesses), count in zip(found, counts, strict=True):
            sequence.guesses, sequence.guesser = guesses[:count], sequence.looked_up
        if self._draft and not any(counts):
            self._let_draft(self._draft, growing, most)

    def _look_up(self, sequence: Sequence, most: int) -> list[int]:
        limit = self._guessable(sequence, most)
        return sequence.lookup.guess(limit) if sequence.lookup and limit > 0 else []

    def _guessable(self, sequence: Sequence, most: int) -> int:
        """So many tokens can follow the next one."""
        left = sequence.params.max_tokens - sequence.generated - 1
        return min(most, left, self._context.n_ctx - sequence.read - 1)

    def _let_draft(self, draft: DraftModel, growing: list[Sequence], most: int) -> None:
        texts = [one for one in growing if one.lookup]  # others cannot be gone back in
        chances = [Chance(self._guessable(one, most), one.drafting, draft.seconds) for one in texts]
        counts = self._speculation.plan(len(growing), chances)
        asked = [(one, count) for one, count in zip(texts, counts, strict=True) if count]
        if not asked:
            return
        wanted = [Wanted(one.slot or 0, one.tokens, count) for one, count in asked]
        for (sequence, _), guesses in zip(asked, draft.guess(wanted), strict=True):
            sequence.guesses, sequence.guesser = guesses, sequence.drafting
        self._drafting_seconds = draft.spent

    def _part(self, sequence: Sequence, count: int) -> Part:
        assert sequence.slot is not None
        if sequence.is_generating:
            del sequence.guesses[count - 1 :]  # those that found no room in the batch
            tokens = [sequence.tokens[-1], *sequence.guesses]
            return Part(sequence.slot, sequence.position, tokens, outputs=len(tokens))
        tokens = sequence.tokens[sequence.read : sequence.read + count]
        outputs = 1 if sequence.read + count == len(sequence.tokens) else 0
        return Part(sequence.slot, sequence.position, tokens, outputs)

    def _count_as_read(self, shares: list[tuple[Sequence, int]]) -> list[tuple[Sequence, int]]:
        """The sequences whose next token is due, and where in the batch its logits are. Guesses
        are not counted before they have turned out to be right."""
        due, end = [], 0
        for sequence, count in shares:
            end += count
            sequence.read += count - len(sequence.guesses)
            self.memory.has_read(sequence)
            if sequence.read == len(sequence.tokens):
                due.append((sequence, end - 1 - len(sequence.guesses)))
        return due

    def _choose(self, due: list[tuple[Sequence, int]]) -> list[list[Choice]]:
        """The next tokens of each: one, and one more for every guess that it confirms. None at
        all where its grammar allows none."""
        handle = self._context.handle
        if due:  # waits for the computation, which the threads below must not do at once
            self._model.api.llama_get_logits_ith(handle, due[0][1])

        def choose(one: tuple[Sequence, int]) -> list[Choice]:
            sequence, output = one
            chosen: list[Choice] = []
            if sequence.params.max_tokens == 0:
                return chosen
            with suppress(NothingAllowed):
                for guess in (*sequence.guesses, None):
                    chosen.append(sequence.sampler.choose(handle, output + len(chosen)))
                    if chosen[-1].token != guess or self._model.ends(chosen[-1].token):
                        break
            return chosen

        if len(due) < 2 or len(due) * self._model.n_vocab < _WORTH_THREADS:
            return [choose(one) for one in due]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_SAMPLING_THREADS, "sampling")
        return list(self._pool.map(choose, due))

    def _go_on(self, sequence: Sequence, chosen: list[Choice]) -> None:
        """Take the tokens, and end the text where it ends."""
        if sequence.prompt_read is None:
            sequence.prompt_read = time.perf_counter()
        if sequence.params.max_tokens == 0:
            self._end(sequence, "length")
            return
        if not chosen:
            self._fail(sequence, Failed("the grammar allows no token here"))
            return
        guessed = len(sequence.guesses)
        for number, choice in enumerate(chosen):
            sequence.read += number > 0  # as the guess that it was
            if stop := self._take(sequence, choice):
                self._end(sequence, stop)
                return
        right = len(chosen) - 1
        sequence.drafted += guessed
        sequence.accepted += right
        if right < guessed and sequence.slot is not None:
            self._context.cut(sequence.slot, sequence.position)
        if guessed and sequence.guesser:
            sequence.guesser.record(guessed, right)
        if sequence.lookup:
            sequence.lookup.add(sequence.tokens[-len(chosen) :])

    def _take(self, sequence: Sequence, choice: Choice) -> Stop | None:
        """Add a token to the text; why it is the last, if it is."""
        if self._model.ends(choice.token):
            return "eos"
        if piece := sequence.take(choice, self._model):
            self._send(sequence.id, piece)
        if sequence.stops.found is not None:
            return "stop"
        if sequence.read == self._context.n_ctx:
            return "context"
        return "length" if sequence.generated >= sequence.params.max_tokens else None

    def _end(self, sequence: Sequence, stop: Stop) -> None:
        if stop != "cancelled" and (rest := sequence.stops.rest()):
            self._send(sequence.id, Piece(rest))
        self._remove(sequence)
        self._send(sequence.id, sequence.result(stop, self._threads_of(1)))

    def _fail(self, sequence: Sequence, failed: Failed) -> None:
        self._remove(sequence)
        self._send(sequence.id, failed)

    def _remove(self, sequence: Sequence) -> None:
        sequence.sampler.close()
        if sequence in self._running:
            self._running.remove(sequence)
            self.memory.leave(sequence)
        else:
            self._waiting.remove(sequence)

    def _make_room(self) -> None:
        """The batch found no place: forget what has ended, or let the latest text wait."""
        if self.memory.make_room():
            return
        latest = max(self._running, key=lambda one: one.started)
        if len(self._running) == 1:
            self._fail(latest, Failed("the context has no room left for this text"))
            return
        self._running.remove(latest)
        self.memory.leave(latest, keep=False)
        self._waiting.appendleft(latest)

    def _recover(self, lost: frozenset[int]) -> None:
        for sequence in self._running:
            if sequence.slot in lost:
                self.memory.lost(sequence)

    def _set_threads(self, growing: int) -> None:
        """`growing` texts get one token each, or it is 0 and prompts are read too."""
        if self._adapters is None:
            return
        single, batch = self._planned
        if growing == 1:
            single = self._adapter(1).threads
        elif growing:
            batch = self._adapter(growing).threads
        self._context.set_threads(single, batch)

    def _adapter(self, growing: int) -> ThreadAdapter:
        assert self._adapters is not None
        if growing not in self._adapters:
            start = self._planned[0] if growing == 1 else self._planned[1]
            self._adapters[growing] = ThreadAdapter(start, max(self._planned))
        return self._adapters[growing]

    def _threads_of(self, growing: int) -> int:
        return self._planned[0] if self._adapters is None else self._adapter(growing).settled

    def _learn(self, growing: int, prompt_tokens: int, seconds: float) -> None:
        if growing and self._adapters is not None:
            self._adapter(growing).record(seconds)
        if len(self._running) > 1:
            self._slices.record(prompt_tokens, seconds)
