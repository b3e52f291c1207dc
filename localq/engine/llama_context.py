"""llama.cpp's working memory for one model: what sequences have read, and how they read on."""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from localq.display import byte_size
from localq.engine.abort_flag import AbortFlag
from localq.engine.backends import total_memory
from localq.engine.llama_batch import MAX_SEQUENCES, LlamaBatch, Part, ReadPart
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.llama_options import cache_bytes_at_least, context_params
from localq.engine.memory_report import BufferMemory, buffer_memory, flash_attention
from localq.engine.settings import LoadSettings
from localq.messages import msg

__all__ = ["Interrupted", "LlamaContext", "OutOfCells", "Part", "ReadPart"]

_DEFAULT_CONTEXT = 4096
_WORTH_CHECKING = 1 << 30


class Interrupted(Exception):
    """The computation was ended early; `lost` are the sequences that have to be read again."""

    def __init__(self, lost: frozenset[int] = frozenset()) -> None:
        super().__init__("interrupted")
        self.lost = lost


class OutOfCells(Exception):
    """The memory has no room for the batch; nothing has changed."""


class LlamaContext:
    """Not for several threads, but for `abort`. LlamaError from any method says why llama.cpp
    refused.

    With `pooling`, one of llama.cpp's LLAMA_POOLING_TYPE_ numbers, it is for vectors: there is an
    output for every token, and `row` gives its numbers instead of logits.
    """

    def __init__(
        self,
        model: LlamaModel,
        settings: LoadSettings,
        log: LogTail,
        *,
        pooling: int | None = None,
    ) -> None:
        self._api = api = model.api
        self._model = model
        self._settings = settings
        self._log = log
        self._lines: Sequence[str] = ()
        self.handle: Any = None
        self._memory: Any = None
        self._outputs = 0
        self._observer: Any = None
        self._pooling = pooling
        self._flag = AbortFlag(api)
        self.n_threads = settings.n_threads or _usable_processors()
        self.n_threads_batch = settings.n_threads_batch or self.n_threads
        self.n_ctx = settings.n_ctx or min(model.n_ctx_train or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        self.n_seq_max = settings.n_seq_max
        self.n_draft = settings.n_draft
        self.n_sequences = MAX_SEQUENCES
        """Sequences that the memory tells apart; those from `n_seq_max` on cannot be computed."""
        self._check_size()
        self._open(self.generation_outputs if pooling is None else self.n_batch)

    def _check_size(self) -> None:
        """LlamaError for a context that no memory here could hold: the system may end the process
        where llama.cpp tries."""
        least = cache_bytes_at_least(self._api, self._model.handle, self._settings, self.n_ctx)
        if least < _WORTH_CHECKING:
            return
        there_is = total_memory(self._api)
        weights = int(self._api.llama_model_size(self._model.handle))
        if there_is is not None and least + weights > there_is:
            raise LlamaError(
                f"a context of {self.n_ctx:,} tokens takes {byte_size(least)} beside the model's"
                f" {byte_size(weights)}; this machine has {byte_size(there_is)}"
            )

    def _open(self, outputs: int) -> None:
        """Make a context that can give the logits of `outputs` tokens of a batch at once.

        Room for all would cost n_batch x n_vocab floats, which is hundreds of MB for large
        vocabularies, so only `logits` asks for that.
        """
        self.close()
        threads = self.n_threads, self.n_threads_batch
        params = context_params(self._api, self._settings, self.n_ctx, threads, outputs)
        params.abort_callback = self._flag.callback
        params.abort_callback_data = self._flag.data
        if self._pooling is not None:
            params.embeddings = True
            params.pooling_type = self._pooling
        if self._observer:
            params.cb_eval = self._observer
        self._log.clear()
        with self._log.recorded() as self._lines:
            self.handle = self._api.llama_init_from_model(self._model.handle, params)
        if not self.handle:
            reason = self._log.reason(msg("llama.cpp gave no reason"))
            raise LlamaError(f"no context of {self.n_ctx} tokens: {reason}")
        self._add_adapters()
        self._memory = self._api.llama_get_memory(self.handle)
        self._outputs = outputs
        self.n_ubatch = int(params.n_ubatch)
        self._batch = LlamaBatch(self._api, self.n_batch)

    def _add_adapters(self) -> None:
        if not (adapters := self._model.adapters):
            return
        count = len(adapters)
        handles = (self._api.llama_adapter_lora_p_ctypes * count)(*(one for one, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        if self._api.llama_set_adapters_lora(self.handle, handles, count, scales):
            raise LlamaError("the adapters cannot be used together")

    def close(self) -> None:
        """Give the memory back."""
        if self.handle:
            self._api.llama_free(self.handle)
        self.handle = self._memory = None

    @property
    def has_memory(self) -> bool:
        """Whether it remembers what was read; an encoder's does not."""
        return bool(self._memory)

    @property
    def n_batch(self) -> int:
        return min(self._settings.n_batch, self.n_ctx)

    @property
    def generation_outputs(self) -> int:
        """Logits that a batch can have while sequences generate."""
        return min(self.n_batch, self._settings.n_seq_max + self._settings.n_draft)

    @property
    def flash_attn(self) -> bool:
        chosen = flash_attention(self._lines)
        return self._settings.flash_attn == "on" if chosen is None else chosen

    @property
    def memory(self) -> tuple[BufferMemory, ...]:
        """What llama.cpp allocated for the model and its context."""
        return buffer_memory((*self._model.log_lines, *self._lines))

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Compute with so many threads from now on: single tokens, and all larger batches."""
        if (n_threads, n_threads_batch) != (self.n_threads, self.n_threads_batch):
            self.n_threads, self.n_threads_batch = n_threads, n_threads_batch
            self._api.llama_set_n_threads(self.handle, n_threads, n_threads_batch)

    def abort(self) -> None:
        """End the computation that runs, from any thread. On devices the current batch goes on."""
        self._flag.set()

    def clear_abort(self) -> None:
        """Before the next computation."""
        self._flag.clear()

    def decode(self, parts: Sequence[Part]) -> None:
        """Read a batch of at most `n_batch` tokens. The output for the batch's token number i is
        then that of llama_get_logits_ith(i).

        OutOfCells, Interrupted, LlamaError; after the last two every sequence has what it had
        before, but for those that are named as lost, which have nothing.
        """
        places = [(part.sequence, part.position) for part in parts]

        def run() -> int:
            return int(self._api.llama_decode(self.handle, self._batch.of(parts)))

        self._compute(places, run, is_whole=True)

    def read_picture(self, read: Callable[[Any], int], sequence: int, position: int) -> None:
        """The same for what `read` does with llama.cpp's context, in several batches perhaps, and
        gives llama_decode's status of; it has no output."""
        self._compute([(sequence, position)], lambda: read(self.handle), is_whole=False)

    def _compute(
        self, places: Sequence[tuple[int, int]], run: Callable[[], int], *, is_whole: bool
    ) -> None:
        """`places` are sequences and where they go on; `is_whole`: it is one batch, of which
        nothing is left where there was no room for all of it."""
        self._log.clear()
        status = run()
        if status == 0:
            return
        if status == 1 and is_whole:
            raise OutOfCells
        lost = frozenset(sequence for sequence, at in places if not self.cut(sequence, at))
        for sequence in lost:
            self.forget(sequence)
        if status == 1 and not lost:
            raise OutOfCells
        if status in (1, 2):
            raise Interrupted(lost)
        raise LlamaError(
            self._log.reason(msg("llama_decode failed with status {status}", status=status))
        )

    def wait(self) -> None:
        """Until what was read last is done: devices work while the caller goes on."""
        self._api.llama_synchronize(self.handle)

    def forget_all(self) -> None:
        """Forget everything that was read."""
        self._api.llama_memory_clear(self._memory, False)

    def forget(self, sequence: int) -> None:
        """Forget one sequence; others keep what they share with it."""
        self._api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def cut(self, sequence: int, position: int) -> bool:
        """Forget the sequence's tokens from `position` on. False where it could not be continued
        from there; it is then of no use any more."""
        if position == 0:
            self.forget(sequence)
            return True
        if not self._api.llama_memory_seq_rm(self._memory, sequence, position, -1):
            return False
        return self._can_continue(sequence, position)

    def copy(self, source: int, target: int, position: int) -> bool:
        """Let `target`, which has nothing, have the first `position` tokens of `source` too,
        in the same memory. False where it could not be continued from there; it has nothing then.
        """
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, position)
        if self._can_continue(target, position):
            return True
        self.forget(target)
        return False

    def save(self, sequence: int, *, partial: bool) -> bytes:
        """What the sequence has in memory; `partial`: only what cannot be cut back."""
        flags = self._flags(partial)
        size = self._api.llama_state_seq_get_size_ext(self.handle, sequence, flags)
        buffer = (ctypes.c_uint8 * size)()
        written = self._api.llama_state_seq_get_data_ext(self.handle, buffer, size, sequence, flags)
        return ctypes.string_at(buffer, written)

    def restore(self, sequence: int, data: bytes, position: int, *, partial: bool) -> bool:
        """Give the sequence what `save` gave after `position` tokens; with `partial`, it must have
        the rest of those tokens already. False where it could not be continued from there; it then
        has nothing."""
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        flags = self._flags(partial)
        read = self._api.llama_state_seq_set_data_ext(
            self.handle, buffer, len(data), sequence, flags
        )
        if read == len(data) and self.cut(sequence, position):
            return True
        self.forget(sequence)
        return False

    def _flags(self, partial: bool) -> int:
        return int(self._api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY) if partial else 0

    def share(self, source: int, target: int, position: int) -> None:
        """As `copy`, whether or not the target could be continued."""
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, position)

    def _can_continue(self, sequence: int, position: int) -> bool:
        newest = self._api.llama_memory_seq_pos_max(self._memory, sequence)
        if newest != position - 1:
            return False
        if not self._model.n_swa:
            return True
        # A sliding window may have dropped what the next token has to look at.
        oldest = self._api.llama_memory_seq_pos_min(self._memory, sequence)
        return bool(oldest <= max(0, position - self._model.n_swa))

    def write_logits(
        self, tokens: Sequence[int], file: BinaryIO, cancelled: Callable[[], bool]
    ) -> None:
        """Forget everything and write the float32 logits after each token, little-endian,
        [tokens, n_vocab]. Interrupted."""
        for count in self._read_whole(tokens, cancelled):
            for index in range(count):
                file.write(self._row(index))

    def observe(self, callback: Callable[[int, bool, object], bool]) -> None:
        """Show `callback` every step of every computation from now on (see
        ggml_backend_sched_eval_callback in llama.cpp `ggml/include/ggml-backend.h`)."""
        self._observer = self._api.ggml_backend_sched_eval_callback(callback)
        self._open(self.n_batch)

    def read_chunk(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        """Read a part of a longer text as a text of its own: where the model wants BOS in front,
        that takes the place of the first token."""
        if (bos := self._model.bos) is not None:
            tokens = (bos, *tokens[1:])
        for _ in self._read_whole(tokens, cancelled):
            pass

    def read_parts(
        self, tokens: Sequence[int], parts: Sequence[ReadPart], cancelled: Callable[[], bool]
    ) -> Iterator[int]:
        """Read as `read_chunk` does, in such parts; yields the address of each part's first logits,
        float32 [outputs, n_vocab], which hold until the next part (0: it has none). Interrupted."""
        if (bos := self._model.bos) is not None:
            tokens = (bos, *tokens[1:])
        if self._outputs < (outputs := max(part.outputs for part in parts)):
            self._open(outputs)
        self.forget_all()
        for part in parts:
            self.clear_abort()
            if cancelled():
                raise Interrupted
            read = tokens[part.start : part.stop]
            self.decode([Part(0, part.start, read, outputs=part.outputs)])
            if not part.outputs:
                yield 0
                continue
            pointer = self._api.llama_get_logits_ith(self.handle, len(read) - part.outputs)
            address = ctypes.cast(pointer, ctypes.c_void_p).value
            if not address:
                raise LlamaError("the model gives no logits", unsupported=True)
            yield address

    def _read_whole(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> Iterator[int]:
        """Forget everything and read `tokens` with an output for each, batch by batch; yields how
        many a batch had."""
        if self._outputs < self.n_batch:
            self._open(self.n_batch)
        self.forget_all()
        for start in range(0, len(tokens), self.n_batch):
            self.clear_abort()
            if cancelled():
                raise Interrupted
            part = tokens[start : start + self.n_batch]
            self.decode([Part(0, start, part, outputs=len(part))])
            yield len(part)

    def _row(self, index: int) -> bytes:
        pointer = self._api.llama_get_logits_ith(self.handle, index)
        data = ctypes.string_at(pointer, 4 * self._model.n_vocab)
        if sys.byteorder == "little":
            return data
        row = array("f", data)
        row.byteswap()
        return row.tobytes()


def _usable_processors() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
