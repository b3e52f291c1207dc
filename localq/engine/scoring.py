"""Several models that read the same text piece by piece, and are scored on each piece at once.

No logits are kept: a piece's lie in each model's own memory, at most `_ROOM` bytes of them, until
the next piece is read. Importing this imports numpy: the engine's process does so when asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from localq.engine.divergence import (
    Doubles,
    Floats,
    Integers,
    NotFinite,
    divergence,
    exact,
    rounded,
)
from localq.engine.llama_context import LlamaContext, ReadPart
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.scoring_requests import ModelScores, Score, Scores
from localq.engine.settings import LoadSettings
from localq.errors import UsageError
from localq.messages import msg

__all__ = ["Scoring", "score_pieces"]

_ROOM = 64 << 20
_BLOCK = 1 << 19
"""Bytes of logits that are worked on at a time, so that they stay in a processor's cache."""


@dataclass(slots=True)
class _Reader:
    """A model that reads; `owned`: nobody else has it."""

    model: LlamaModel
    settings: LoadSettings
    context: LlamaContext
    owned: bool

    def close(self) -> None:
        self.context.close()
        if self.owned:
            self.model.close()


@dataclass(slots=True)
class _Collected:
    """What became of the rows so far, piece by piece."""

    nll: list[Doubles] = field(default_factory=list)
    kld: list[Doubles] = field(default_factory=list)
    same_top: list[Integers] = field(default_factory=list)

    def whole(self) -> ModelScores:
        return ModelScores(_values(self.nll), _values(self.kld), _values(self.same_top))


class Scoring:
    """The model of `Load`, and those loaded beside it. LlamaError from any method."""

    def __init__(self, model: LlamaModel, settings: LoadSettings, log: LogTail) -> None:
        model.check_generates()
        self._log = log
        self._readers = [_Reader(model, settings, LlamaContext(model, settings, log), owned=False)]
        self._pool = ThreadPoolExecutor(self._readers[0].context.n_threads_batch)

    def close(self) -> None:
        """Give the memory back, but for what is the first model's own."""
        for reader in self._readers:
            reader.close()
        self._pool.shutdown()

    def hurry(self) -> None:
        """End the computation that runs, from any thread."""
        for reader in self._readers:
            reader.context.abort()

    def add(self, settings: LoadSettings) -> None:
        """Load one more model. UsageError where it has another vocabulary."""
        model = LlamaModel(self._readers[0].model.api, settings, self._log)
        try:
            model.check_generates()
            if model.n_vocab != self._readers[0].model.n_vocab:
                raise UsageError(
                    msg(
                        "{name}: a vocabulary of {count:,} tokens cannot be compared with one of"
                        " {expected:,}",
                        name=settings.path.name,
                        count=model.n_vocab,
                        expected=self._readers[0].model.n_vocab,
                    )
                )
            context = LlamaContext(model, settings, self._log)
        except BaseException:
            model.close()
            raise
        self._readers.append(_Reader(model, settings, context, owned=True))

    def score(self, request: Score, cancelled: Callable[[], bool]) -> Scores:
        """Let all models read the tokens. Interrupted as soon as `cancelled()`."""
        tokens, first = request.tokens, request.first
        n_ctx = min(reader.context.n_ctx for reader in self._readers)
        if not 0 <= first < len(tokens) - 1 or len(tokens) > n_ctx:
            raise UsageError(
                msg(
                    "{count:,} tokens cannot be scored from number {first} on in a context of"
                    " {n_ctx:,}",
                    count=len(tokens),
                    first=first,
                    n_ctx=n_ctx,
                )
            )
        self._readers[0].model.check_tokens(tokens)
        n_vocab = self._readers[0].model.n_vocab
        parts = tuple(
            score_pieces(
                len(tokens),
                first,
                min(reader.context.n_batch for reader in self._readers),
                max(1, _ROOM // (4 * n_vocab)),
            )
        )
        targets = np.array((*tokens[1:], 0), np.int64)
        read = [reader.context.read_parts(tokens, parts, cancelled) for reader in self._readers]
        collected = [_Collected() for _ in self._readers]
        for part, addresses in zip(parts, zip(*read, strict=True), strict=True):
            # What comes after the last token of all is not known.
            count = part.outputs - (part.stop == len(tokens))
            if count <= 0:
                continue
            wanted = targets[part.stop - part.outputs :][:count]
            logits = [_rows(address, count, n_vocab) for address in addresses]
            self._score_piece(logits, wanted, collected, request.rounded)
        return Scores(tuple(one.whole() for one in collected))

    def _score_piece(
        self,
        logits: Sequence[Floats],
        targets: Integers,
        collected: Sequence[_Collected],
        is_rounded: bool,
    ) -> None:
        step = max(1, _BLOCK // (4 * logits[0].shape[1]))

        def block(start: int) -> list[tuple[Any, ...]]:
            part = slice(start, start + step)
            wanted = targets[part]
            results: list[tuple[Any, ...]] = []
            try:
                base = (rounded if is_rounded else exact)(logits[0][part], wanted)
                results.append((base.nll,))
                for other in logits[1:]:
                    results.append(divergence(base, other[part], wanted))
            except NotFinite:
                name = self._readers[len(results)].settings.path.name
                raise LlamaError(
                    f"{name}: its logits are not numbers (NaN or infinity): the model is damaged"
                ) from None
            return results

        for results in self._pool.map(block, range(0, len(targets), step)):
            for into, (nll, *compared) in zip(collected, results, strict=True):
                into.nll.append(nll)
                if compared:
                    into.kld.append(compared[0])
                    into.same_top.append(compared[1])


def score_pieces(n_tokens: int, first: int, n_batch: int, rows: int) -> Iterator[ReadPart]:
    """In which pieces `n_tokens` are read, so that none is longer than `n_batch` and none has more
    than `rows` outputs; there are outputs from token `first` on."""
    start = 0
    while start < n_tokens:
        stop = min(start + n_batch, max(start, first) + rows, n_tokens)
        yield ReadPart(start, stop, max(0, stop - max(start, first)))
        start = stop


def _rows(address: int, count: int, n_vocab: int) -> Floats:
    """The logits where llama.cpp keeps them, [count, n_vocab]; until the next piece is read."""
    memory = (ctypes.c_float * (count * n_vocab)).from_address(address)
    return np.frombuffer(memoryview(memory), np.float32).reshape(count, n_vocab)


def _values(parts: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(np.concatenate(parts).tolist()) if parts else ()
