"""A small model that guesses what a larger one of the same vocabulary says next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localq.engine.llama_context import Interrupted, LlamaContext, OutOfCells, Part
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.memory_report import BufferMemory
from localq.engine.prefix_tree import common_prefix
from localq.engine.settings import LoadSettings
from localq.messages import msg

__all__ = ["DraftModel", "Wanted"]

_FOLLOW = 0.3
"""How far one measurement moves the expectation."""
_PROMPT = 32
"""Tokens: more at once are the reading of a prompt."""
_OUTLIER = 2.0
"""A measurement counts as no more than so many times what was expected: the machine was busy."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Guesses at what follows `tokens`, the text in the larger model's `slot`."""

    slot: int
    tokens: Sequence[int]
    count: int


class DraftModel:
    """Reads what the larger model reads, as far behind as it likes. LlamaError from any method.

    It has a context of the same length, in which each text has the place of its slot. A text that
    was not read yet is read a batch at a time, and not guessed at before that is done.
    """

    def __init__(
        self, path: Path, target: LlamaModel, settings: LoadSettings, n_ctx: int, log: LogTail
    ) -> None:
        own = replace(
            settings,
            path=path,
            n_ctx=n_ctx,
            n_gpu_layers=0,
            tensor_split=None,
            n_cpu_moe=0,
            type_k="f16",
            type_v="f16",
            n_draft=0,
            draft=None,
            adapters=(),
        )
        self._model = model = LlamaModel(target.api, own, log)
        try:
            _check(model, target)
            self._context = LlamaContext(model, own, log)
        except LlamaError as error:
            model.close()
            raise LlamaError(
                msg("{path} cannot be its draft: {reason}", path=path, reason=error)
            ) from None
        self._greedy = model.api.llama_sampler_init_greedy()
        self._read: dict[int, list[int]] = {}
        """What it has in memory of each slot."""
        self.seconds = 0.0
        """What a guess takes; 0 before the first."""
        self.spent = 0.0
        """Seconds that the latest guesses took, but for the reading of prompts."""
        self._caught_up = 0

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        self._model.api.llama_sampler_free(self._greedy)
        self._context.close()
        self._model.close()

    @property
    def memory(self) -> tuple[BufferMemory, ...]:
        """What llama.cpp allocated for it."""
        return self._context.memory

    def guess(self, wanted: Sequence[Wanted]) -> list[list[int]]:
        """For each at most as many tokens as it wants."""
        started = time.perf_counter()
        guesses: list[list[int]] = [[] for _ in wanted]
        try:
            latest = self._catch_up(wanted)
            if self._caught_up > _PROMPT:  # which is done once, and says nothing of the next guess
                started = time.perf_counter()
            for _ in range(max((one.count for one in wanted), default=0)):
                for number, output in latest.items():
                    token = self._model.api.llama_sampler_sample(
                        self._greedy, self._context.handle, output
                    )
                    guesses[number].append(int(token))
                going = [n for n in latest if len(guesses[n]) < wanted[n].count]
                if not going:
                    break
                latest = self._decode([(n, wanted[n].slot, guesses[n][-1:]) for n in going])
        except (OutOfCells, Interrupted):
            self.forget()  # texts of other slots, as a rule; it goes on with those that are left
        self.spent = time.perf_counter() - started if any(guesses) else 0.0
        if count := sum(map(len, guesses)):
            each = self.spent / count
            before = self.seconds or each
            self.seconds = before + _FOLLOW * (min(each, _OUTLIER * before) - before)
        return guesses

    def forget(self) -> None:
        """Everything that was read."""
        self._context.forget_all()
        self._read.clear()

    def _catch_up(self, wanted: Sequence[Wanted]) -> dict[int, int]:
        """Read what is new of each text, as far as a batch goes; by their numbers, where the logits
        are of those that were read to the end."""
        room = self._context.n_batch
        parts: list[tuple[int, int, Sequence[int]]] = []
        whole = set()
        for number, one in enumerate(wanted):
            read = self._read.setdefault(one.slot, [])
            same = min(common_prefix(one.tokens, read), len(one.tokens) - 1)
            if same < len(read):
                self._context.cut(one.slot, same)
                del read[same:]
            new = one.tokens[same : same + room]
            room -= len(new)
            if new:
                parts.append((number, one.slot, new))
            if same + len(new) == len(one.tokens):
                whole.add(number)
        self._caught_up = sum(len(new) for _, _, new in parts)
        outputs = self._decode(parts)
        return {number: outputs[number] for number in outputs if number in whole}

    def _decode(self, parts: Sequence[tuple[int, int, Sequence[int]]]) -> dict[int, int]:
        """Read numbered tokens of slots; where the logits behind each of them are."""
        if not parts:
            return {}
        self._context.decode(
            [Part(slot, len(self._read[slot]), new, outputs=1) for _, slot, new in parts]
        )
        end, outputs = 0, {}
        for number, slot, new in parts:
            self._read[slot].extend(new)
            end += len(new)
            outputs[number] = end - 1
        return outputs


def _check(model: LlamaModel, target: LlamaModel) -> None:
    model.check_generates()
    if model.recall != "any":
        raise LlamaError(msg("it cannot go back in a text"))
    if model.n_vocab != target.n_vocab:
        raise LlamaError(
            msg(
                "its vocabulary has {count:,} tokens, not {expected:,}",
                count=model.n_vocab,
                expected=target.n_vocab,
            )
        )
    if (number := model.first_other_token(target)) is not None:
        raise LlamaError(
            msg("its vocabulary is another one: token {number:,} differs", number=number)
        )
