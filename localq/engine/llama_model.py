"""One model in llama.cpp's memory, through its C functions.

Only the engine's own process uses this: llama.cpp may abort the process it lives in. The C
functions come in as `api` (the module `llama_cpp.llama_cpp`), so that importing this is free.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import takewhile
from typing import Any, BinaryIO

from localq.display import byte_size
from localq.engine.backends import total_memory
from localq.engine.llama_log import LogTail
from localq.engine.llama_options import cache_bytes_at_least, context_params, model_params
from localq.engine.llama_sampler import sampler
from localq.engine.memory_report import (
    BufferMemory,
    buffer_memory,
    flash_attention,
    offloaded_layers,
)
from localq.engine.sampling import SamplingParams
from localq.engine.settings import LoadSettings
from localq.engine.space_prefix import SpacePrefix

__all__ = ["Interrupted", "LlamaError", "LlamaModel"]

_DEFAULT_CONTEXT = 4096
_WORTH_CHECKING = 1 << 30

Check = Callable[[], bool]


class LlamaError(Exception):
    """llama.cpp refused; the message is its reason."""

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.unsupported = unsupported


class Interrupted(Exception):
    """The reading of a prompt was cancelled."""


class LlamaModel:
    """A loaded model with one context, which remembers the tokens it has read.

    Not for several threads. LlamaError from any method says why llama.cpp refused.
    """

    def __init__(self, api: Any, settings: LoadSettings, log: LogTail) -> None:
        self._api = api
        self._log = log
        self._settings = settings
        self._context: Any = None
        self._memory: Any = None
        self._outputs = 0
        self._observer: Any = None
        self._read: list[int] = []
        """The tokens whose keys and values are in memory, by position."""
        self._model_log: Sequence[str] = ()
        self._context_log: Sequence[str] = ()
        log.clear()
        try:
            params, _kept = model_params(api, settings)
        except (OSError, AttributeError) as error:
            raise LlamaError(f"experts cannot be kept in host memory: {error}") from error
        with log.recorded() as self._model_log:
            self._model = api.llama_model_load_from_file(os.fsencode(settings.path), params)
        if not self._model:
            raise LlamaError(log.reason("llama.cpp gave no reason"))
        self._vocab = api.llama_model_get_vocab(self._model)
        self._space_prefix = SpacePrefix(api, self._model, self._vocab)
        self.n_vocab = int(api.llama_vocab_n_tokens(self._vocab))
        self.n_ctx_train = max(0, int(api.llama_model_n_ctx_train(self._model)))
        self.n_threads = settings.n_threads or _usable_processors()
        self.n_threads_batch = settings.n_threads_batch or self.n_threads
        self.n_ctx = settings.n_ctx or min(self.n_ctx_train or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        try:
            self._check_context()
            self._open_context(outputs=1)
        except LlamaError:
            self.close()
            raise

    def _check_context(self) -> None:
        """LlamaError for a context that no memory here could hold: the system may end the process
        where llama.cpp tries."""
        least = cache_bytes_at_least(self._api, self._model, self._settings, self.n_ctx)
        if least < _WORTH_CHECKING:
            return
        there_is = total_memory(self._api)
        weights = int(self._api.llama_model_size(self._model))
        if there_is is not None and least + weights > there_is:
            raise LlamaError(
                f"a context of {self.n_ctx:,} tokens takes {byte_size(least)} beside the model's"
                f" {byte_size(weights)}; this machine has {byte_size(there_is)}"
            )

    def _open_context(self, outputs: int) -> None:
        """Make a context that can give the logits of `outputs` tokens of a batch at once.

        Generation needs one. Room for all would cost n_batch x n_vocab floats, which is hundreds
        of MB for large vocabularies, so only `logits` asks for that.
        """
        self._close_context()
        threads = self.n_threads, self.n_threads_batch
        params = context_params(self._api, self._settings, self.n_ctx, threads, outputs)
        if self._observer:
            params.cb_eval = self._observer
        self._log.clear()
        with self._log.recorded() as self._context_log:
            self._context = self._api.llama_init_from_model(self._model, params)
        if not self._context:
            reason = self._log.reason("llama.cpp gave no reason")
            raise LlamaError(f"no context of {self.n_ctx} tokens: {reason}")
        self._memory = self._api.llama_get_memory(self._context)
        self._outputs = outputs
        self.n_ubatch = int(params.n_ubatch)

    def _close_context(self) -> None:
        if self._context:
            self._api.llama_free(self._context)
        self._context = self._memory = None
        self._read = []

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        self._close_context()
        if self._model:
            self._api.llama_model_free(self._model)
        self._model = None

    @property
    def n_batch(self) -> int:
        return min(self._settings.n_batch, self.n_ctx)

    @property
    def n_gpu_layers(self) -> int:
        """Layers that are on devices, the output included."""
        return offloaded_layers(self._model_log)

    @property
    def flash_attn(self) -> bool:
        chosen = flash_attention(self._context_log)
        return self._settings.flash_attn == "on" if chosen is None else chosen

    @property
    def memory(self) -> tuple[BufferMemory, ...]:
        """What llama.cpp allocated for the model and its context."""
        return buffer_memory((*self._model_log, *self._context_log))

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Compute with so many threads from now on."""
        self.n_threads, self.n_threads_batch = n_threads, n_threads_batch
        self._api.llama_set_n_threads(self._context, n_threads, n_threads_batch)

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        self._api.llama_model_desc(self._model, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def check_generates(self) -> None:
        """LlamaError if this is a model of another kind, such as an encoder."""
        api = self._api
        if api.llama_model_has_encoder(self._model) or not api.llama_model_has_decoder(self._model):
            raise LlamaError("an encoder model does not continue text", unsupported=True)
        if api.llama_model_is_diffusion(self._model):
            raise LlamaError(
                "a diffusion model does not write text token by token", unsupported=True
            )

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of `text`. `add_special` adds what the model wants in front of a text (BOS),
        but never an end-of-text token behind it: a prompt is there to be continued."""
        text = self._space_prefix.of(text, lambda part: self._ids(part, False, parse_special))
        tokens = self._ids(text, add_special, parse_special)
        if add_special and self._api.llama_vocab_get_add_eos(self._vocab):
            eos = self._api.llama_vocab_eos(self._vocab)
            if len(tokens) > 1 and tokens[-1] == eos:
                tokens.pop()
        return tokens

    def _ids(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 2
        buffer = (ctypes.c_int32 * capacity)()
        count = self._api.llama_tokenize(
            self._vocab, data, len(data), buffer, capacity, add_special, parse_special
        )
        if count < 0:
            buffer = (ctypes.c_int32 * max(0, -count))()
            count = self._api.llama_tokenize(
                self._vocab, data, len(data), buffer, len(buffer), add_special, parse_special
            )
        if count < 0:
            raise LlamaError(f"a text of {len(data):,} bytes could not be tokenised")
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """The bytes a token adds to the text; none for control tokens."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._api.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def ends(self, token: int) -> bool:
        """Whether the model ends its text with this token."""
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    def read_prompt(self, tokens: Sequence[int], cancelled: Check) -> int:
        """Read a prompt, so that `sample` continues it; the count of tokens that were still in
        memory from before. Raises Interrupted as soon as `cancelled()`."""
        kept = self._keep(tokens)
        with self._abort_when(cancelled):
            for start in range(kept, len(tokens), self.n_batch):
                if cancelled():
                    raise Interrupted
                self._decode(tokens[start : start + self.n_batch])
        return kept

    def read(self, token: int) -> None:
        """Read one more token."""
        self._decode((token,))

    def start_anew(self) -> None:
        """Forget everything that was read."""
        self._forget(0)

    def wait(self) -> None:
        """Until what was read last is done: devices work while the caller goes on."""
        self._api.llama_synchronize(self._context)

    @property
    def bos(self) -> int | None:
        """The token that begins a text, where the model wants one."""
        if not self._api.llama_vocab_get_add_bos(self._vocab):
            return None
        return int(self._api.llama_vocab_bos(self._vocab))

    @property
    def length(self) -> int:
        """Tokens in memory, out of `n_ctx`."""
        return len(self._read)

    def write_logits(self, tokens: Sequence[int], file: BinaryIO, cancelled: Check) -> None:
        """Write the float32 logits after each token, little-endian, [tokens, n_vocab]."""
        for count in self._read_whole(tokens, cancelled):
            for index in range(count):
                file.write(self._row(index))

    def observe(self, callback: Callable[[int, bool, object], bool]) -> None:
        """Show `callback` every step of every computation from now on (see
        ggml_backend_sched_eval_callback in llama.cpp `ggml/include/ggml-backend.h`)."""
        self._observer = self._api.ggml_backend_sched_eval_callback(callback)
        self._open_context(self.n_batch)

    def read_chunk(self, tokens: Sequence[int], cancelled: Check) -> None:
        """Read a part of a longer text as a text of its own: where the model wants BOS in front,
        that takes the place of the first token."""
        if (bos := self.bos) is not None:
            tokens = (bos, *tokens[1:])
        for _ in self._read_whole(tokens, cancelled):
            pass

    def _read_whole(self, tokens: Sequence[int], cancelled: Check) -> Iterator[int]:
        """Forget everything and read `tokens` with an output for each, batch by batch; yields how
        many a batch had."""
        if self._outputs < self.n_batch:
            self._open_context(self.n_batch)
        self._forget(0)
        with self._abort_when(cancelled):
            for start in range(0, len(tokens), self.n_batch):
                if cancelled():
                    raise Interrupted
                count = len(tokens[start : start + self.n_batch])
                self._decode(tokens[start : start + count], outputs=count)
                yield count

    def _row(self, index: int) -> bytes:
        pointer = self._api.llama_get_logits_ith(self._context, index)
        data = ctypes.string_at(pointer, 4 * self.n_vocab)
        if sys.byteorder == "little":
            return data
        row = array("f", data)
        row.byteswap()
        return row.tobytes()

    def _keep(self, tokens: Sequence[int]) -> int:
        """Forget all but the longest prefix in memory that `tokens` begins with; its length.

        The last token is never kept: reading it gives the logits to sample from.
        """
        pairs = zip(self._read, tokens[:-1], strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return self._forget(common)

    def _forget(self, position: int) -> int:
        """Forget the tokens from `position` on, or all where the model cannot forget a part;
        how many are left."""
        api = self._api
        if position > 0 and api.llama_memory_seq_rm(self._memory, 0, position, -1):
            # A sliding window may have dropped what the next token has to look at.
            window = api.llama_model_n_swa(self._model)
            oldest = api.llama_memory_seq_pos_min(self._memory, 0)
            newest = api.llama_memory_seq_pos_max(self._memory, 0)
            seen = oldest <= max(0, position - window) if window else True
            if newest == position - 1 and seen:
                del self._read[position:]
                return position
        api.llama_memory_clear(self._memory, False)
        self._read = []
        return 0

    def _decode(self, tokens: Sequence[int], outputs: int = 1) -> None:
        count = len(tokens)
        buffer = (ctypes.c_int32 * count)(*tokens)
        batch = self._api.llama_batch_get_one(buffer, count)
        if outputs > 1:
            flags = (ctypes.c_int8 * count)(*[1] * count)
            batch.logits = ctypes.cast(flags, type(batch.logits))
        self._log.clear()
        status = self._api.llama_decode(self._context, batch)
        if status == 0:
            self._read.extend(tokens)
            return
        # A part of the batch may have been read: go back to where all was well.
        self._forget(len(self._read))
        if status == 2:
            raise Interrupted
        raise LlamaError(self._log.reason(f"llama_decode failed with status {status}"))

    @contextmanager
    def _abort_when(self, cancelled: Check) -> Iterator[None]:
        """Let llama.cpp ask between the steps of a batch, which may take many seconds."""
        callback = self._api.ggml_abort_callback(lambda _: cancelled())
        self._api.llama_set_abort_callback(self._context, callback, None)
        try:
            yield
        finally:
            never = self._api.ggml_abort_callback()
            self._api.llama_set_abort_callback(self._context, never, None)

    def sampler(
        self, params: SamplingParams, seed: int, prompt: Sequence[int]
    ) -> AbstractContextManager[Callable[[], int]]:
        """A function that chooses the next token after what has been read."""
        return sampler(self._api, self._context, self._vocab, params, seed, prompt)


def _usable_processors() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
