"""All texts that become vectors or scores: a loop beside that of `generations`.

It has a context of its own, so that conversations keep what they have read. That is opened with the
first request, as large as the longest text needs, and grows with it. An encoder reads a text at
once, as every token sees all others; others read long texts slice by slice. Short texts, whoever
asked for them, are read together.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from localq.engine.embedding_job import EmbeddingJob, Text
from localq.engine.llama_context import Interrupted, LlamaContext, OutOfCells, Part
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.protocol import Failed, Reply
from localq.engine.settings import LoadSettings

__all__ = ["Embeddings"]

_TOKENS_TOGETHER = 512
"""Of several texts in a batch; more would not be faster, and an encoder compares all with all."""
_TEXTS_TOGETHER = 64
_OUTPUT_BYTES = 128 << 20
"""llama.cpp computes, and has room for, the logits of all tokens of a batch where the model could
generate, although nobody asks for them."""
_NONE, _RANK = 0, 4
"""LLAMA_POOLING_TYPE_ of llama.cpp. Vectors are pooled here: so a text may come in slices."""


class Embeddings:
    """Call `step` as long as there is something to do. `send` gets the replies. `limit`: the most
    tokens that a text may have."""

    def __init__(
        self,
        model: LlamaModel,
        settings: LoadSettings,
        log: LogTail,
        limit: int,
        send: Callable[[int, Reply], None],
    ) -> None:
        self._model = model
        self._settings = settings
        self._log = log
        self._limit = limit
        self._send = send
        self._jobs: deque[EmbeddingJob] = deque()
        self._computing: frozenset[int] = frozenset()
        """The requests whose texts are being read now."""
        self._at_once = model.looks_ahead
        """Whether a text has to be read in one batch."""
        self.context: LlamaContext | None = None
        self._rank = False
        """What the context is for."""
        self._slots: list[int] = []
        """Those that are free."""
        self._width = int(model.api.llama_model_n_embd_out(model.handle))

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def open(self) -> LlamaContext:
        """The context, for what is to be said of it."""
        return self.context or self._open(0, rank=False)

    def add(self, job: EmbeddingJob) -> None:
        self._jobs.append(job)

    def hurry(self, id_: int) -> None:
        """Request `id_` was cancelled: do not let it finish its batch. From any thread."""
        context = self.context
        if context is not None and id_ in self._computing:
            context.abort()

    def close(self) -> None:
        self._jobs.clear()
        if self.context:
            self.context.close()
        self.context = None

    def step(self) -> None:
        """Read one batch, and send what has become of it."""
        for job in [one for one in self._jobs if one.cancelled.is_set()]:
            self._end(job, Failed("cancelled"))
        if not self._jobs:
            return
        first = self._jobs[0]
        try:
            context = self._fitting(first)
        except LlamaError as error:
            self._end(first, Failed(str(error)))
            return
        batch = self._batch(context)
        jobs = list(dict.fromkeys(text.job for text, _ in batch))
        self._computing = frozenset(job.id for job in jobs)
        context.clear_abort()  # from here on `hurry` has an effect
        if any(job.cancelled.is_set() for job in jobs):
            return
        try:
            context.decode([self._part(text, count) for text, count in batch])
        except Interrupted as interrupted:
            for text, _ in batch:
                if text.slot in interrupted.lost:
                    text.restart()
            return
        except (LlamaError, OutOfCells) as error:
            for job in jobs:
                self._end(job, Failed(str(error) or "the context has no room for this text"))
            return
        finally:
            self._computing = frozenset()
        self._take(context, batch)
        for job in jobs:
            if not job.waiting:
                self._end(job, job.result())

    def _fitting(self, job: EmbeddingJob) -> LlamaContext:
        """The context, with room for the longest text of the job."""
        longest = max(len(text.tokens) for text in job.waiting)
        if self.context and self._rank == job.rank and longest <= self.context.n_ctx:
            return self.context
        return self._open(longest, rank=job.rank)

    def _open(self, longest: int, *, rank: bool) -> LlamaContext:
        if self.context:
            self.context.close()
            self.context = None
        for text in (text for job in self._jobs for text in job.waiting):
            text.restart()
            text.slot = None
        n_ctx = min(self._limit, max(_TOKENS_TOGETHER, 1 << (longest - 1).bit_length()))
        n_batch = n_ctx
        if not self._at_once:
            most = _OUTPUT_BYTES // (4 * self._model.n_vocab)
            n_batch = min(n_ctx, _TOKENS_TOGETHER, max(32, most))
        n_seq_max = 1 if self._model.recall == "whole" else _TEXTS_TOGETHER
        settings = replace(
            self._settings,
            n_ctx=n_ctx,
            n_batch=n_batch,
            n_ubatch=n_batch,
            n_seq_max=n_seq_max,
            n_draft=0,
        )
        pooling = _RANK if rank else _NONE
        self.context = LlamaContext(self._model, settings, self._log, pooling=pooling)
        if not self.context.has_memory and not self._at_once:  # the file does not say it
            self._at_once = True
            return self._open(longest, rank=rank)
        self._rank = rank
        self._slots = list(range(n_seq_max))
        return self.context

    def _batch(self, context: LlamaContext) -> list[tuple[Text, int]]:
        """The next texts, and how many tokens of each. Only the first may be read in part."""
        batch: list[tuple[Text, int]] = []
        room, cells = min(_TOKENS_TOGETHER, context.n_batch), context.n_ctx
        for text in (text for job in self._jobs for text in job.waiting if job.rank == self._rank):
            if not batch:
                count = min(text.left, context.n_batch)
            elif len(text.tokens) <= min(room, cells) and self._slots:
                count = text.left
            else:
                break
            if text.slot is None:
                text.slot = self._slots.pop()
            batch.append((text, count))
            room -= count
            cells -= text.read + count
        return batch

    def _part(self, text: Text, count: int) -> Part:
        assert text.slot is not None
        tokens = text.tokens[text.read : text.read + count]
        return Part(text.slot, text.read, tokens, outputs=count)

    def _take(self, context: LlamaContext, batch: Sequence[tuple[Text, int]]) -> None:
        end = 0
        for text, count in batch:
            start, end = end, end + count
            job = text.job
            if job.rank:
                text.read += count
                if not text.left:
                    job.scores[text.index] = self._score(context, text)
            else:
                rows = b"".join(self._row(context, index) for index in range(start, end))
                for vectors in job.take(text, rows, self._width):
                    self._send(job.id, vectors)
            if not text.left:
                self._release(context, text)
                job.done += 1

    def _row(self, context: LlamaContext, index: int) -> bytes:
        pointer = self._model.api.llama_get_embeddings_ith(context.handle, index)
        return ctypes.string_at(pointer, 4 * self._width)

    def _score(self, context: LlamaContext, text: Text) -> float:
        return float(self._model.api.llama_get_embeddings_seq(context.handle, text.slot)[0])

    def _release(self, context: LlamaContext, text: Text) -> None:
        if text.slot is not None:
            context.forget(text.slot)
            self._slots.append(text.slot)
            text.slot = None

    def _end(self, job: EmbeddingJob, reply: Reply) -> None:
        self._jobs.remove(job)
        if self.context:
            for text in job.texts:
                self._release(self.context, text)
        self._send(job.id, reply)
