"""llama.cpp's functions over a memory of tokens instead of keys and values.

The next token of a sequence is a number made of all tokens that its memory holds, so that a token
too many, too few or of somebody else shows in every token that follows.
"""

from __future__ import annotations

import ctypes
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localq.engine.llama_context import LlamaContext
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaModel
from localq.engine.settings import LoadSettings

__all__ = ["CONTINUED", "ERROR", "INFO", "N_VOCAB", "FakeLlama", "Params", "load", "next_token"]

INFO, ERROR, CONTINUED = 2, 4, 5
N_VOCAB = 99

_ANSWERS: dict[str, Any] = {
    "llama_model_has_encoder": False,
    "llama_model_has_decoder": True,
    "llama_model_is_diffusion": False,
    "llama_model_get_vocab": 1,
    "llama_vocab_n_tokens": N_VOCAB,
    "llama_model_n_embd_out": 2,
    "llama_vocab_get_add_bos": True,
    "llama_vocab_bos": 5,
    "llama_vocab_get_suppress_tokens": None,
    "llama_sampler_chain_default_params": None,
    "llama_sampler_chain_init": 1,
    "llama_sampler_chain_add": None,
    "llama_sampler_init_greedy": 1,
    "llama_sampler_accept": None,
    "llama_sampler_free": None,
    "llama_get_logits_ith": None,
    "llama_logit_bias": None,
    "llama_token_to_piece": 0,
    "llama_model_is_hybrid": False,
    "llama_model_size": 5 * 10**9,
    "llama_model_n_head": 8,
    "llama_model_n_head_kv": 8,
    "llama_model_n_embd": 4096,
    "llama_model_n_layer": 32,
    "llama_model_meta_val_str": -1,
    "LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY": 1,
    "LLAMA_FLASH_ATTN_TYPE_DISABLED": 0,
    "LLAMA_FLASH_ATTN_TYPE_ENABLED": 1,
    "LLAMA_LOAD_MODE_NONE": 10,
    "LLAMA_LOAD_MODE_MLOCK": 12,
    "LLAMA_LOAD_MODE_MMAP_MLOCK": 13,
}


class Params:
    """A struct that takes any field."""


@dataclass(slots=True)
class Cell:
    position: int
    token: int
    sequences: set[int] = field(default_factory=set)


def next_token(tokens: Sequence[int]) -> int:
    """What the fake model says after these; never token 0, which ends a text."""
    return 1 + zlib.crc32(array("i", tokens).tobytes()) % (N_VOCAB - 1)


class FakeLlama:
    def __init__(self) -> None:
        self.log: Callable[[int, bytes, None], None] = lambda level, text, _: None
        self.cells: list[Cell] = []
        self.recurrent = False
        """Whether the memory of a sequence can only be continued or forgotten."""
        self.window = 0
        self.encoder = False
        """Whether it has no memory, and reads each text at once."""
        self.status = 0
        self.n_ctx_train = 32
        self.opened: list[Any] = []
        self.freed: list[str] = []
        self.error = b""
        self.model_log: list[bytes] = []
        self.context_log: list[bytes] = []
        self.loaded: list[Any] = []
        self.threads: list[tuple[int, int]] = []
        self.waited = 0
        self.batches: list[list[tuple[int, int]]] = []
        """Sequence and token of each one that was read, batch by batch."""
        self.choose: Callable[[list[int]], int] = next_token
        self.during: Callable[[], int] = lambda: 0
        """Called in every computation; the status it ends with."""
        self.computing: frozenset[int] = frozenset()
        """The sequences whose tokens are being read."""
        self._rows: dict[int, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        if name in _ANSWERS:
            return _ANSWERS[name] if name.isupper() else lambda *_: _ANSWERS[name]
        raise AttributeError(name)

    @property
    def n_ctx(self) -> int:
        return int(self.opened[-1].n_ctx)

    def tokens(self, sequence: int) -> list[int]:
        own = [cell for cell in self.cells if sequence in cell.sequences]
        return [cell.token for cell in sorted(own, key=lambda cell: cell.position)]

    def positions(self, sequence: int = 0) -> list[int]:
        return sorted(cell.position for cell in self.cells if sequence in cell.sequences)

    def llama_log_callback(self, function: Any) -> Any:
        return function

    def llama_log_set(self, function: Any, _: None) -> None:
        self.log = function

    def ggml_abort_callback(self, function: Any = None) -> Any:
        return function

    def llama_model_default_params(self) -> Params:
        return Params()

    llama_context_default_params = llama_model_default_params

    def llama_model_load_from_file(self, path: bytes, params: Params) -> int:
        self.loaded.append(params)
        for line in self.model_log:
            self.log(INFO, line, None)
        if self.error:
            self.log(ERROR, self.error, None)
        return 0 if self.error else 1

    def llama_model_n_ctx_train(self, _: int) -> int:
        return self.n_ctx_train

    def llama_model_is_recurrent(self, _: int) -> bool:
        return self.recurrent

    def llama_init_from_model(self, _: int, params: Params) -> int:
        self.opened.append(params)
        for line in self.context_log:
            self.log(INFO, line, None)
        self.cells = []
        return len(self.opened) if self.status != -100 else 0

    def llama_get_memory(self, _: int) -> int:
        return int(not self.encoder)

    def llama_get_embeddings_ith(self, _: int, output: int) -> Any:
        """Two numbers for each token: how many there are, and the sum of all."""
        tokens = self._rows[output]
        return (ctypes.c_float * 2)(len(tokens), sum(tokens))

    def llama_get_embeddings_seq(self, _: int, sequence: int) -> list[float]:
        return [float(sum(self.tokens(sequence)))]

    def llama_set_n_threads(self, _: int, threads: int, batch: int) -> None:
        self.threads.append((threads, batch))

    def llama_synchronize(self, _: int) -> None:
        self.waited += 1

    def llama_vocab_is_eog(self, _: int, token: int) -> bool:
        return token == 0

    def llama_sampler_sample(self, chain: int, context: int, output: int) -> int:
        return self.choose(self._rows[output])

    def llama_free(self, _: int) -> None:
        self.freed.append("context")

    def llama_model_free(self, _: int) -> None:
        self.freed.append("model")

    def llama_batch(self, *fields: Any) -> Any:
        batch = Params()
        names = ("n_tokens", "token", "embd", "pos", "n_seq_id", "seq_id", "logits")
        vars(batch).update(zip(names, fields, strict=True))
        return batch

    def llama_decode(self, _: int, batch: Any) -> int:
        count = batch.n_tokens
        if self.encoder:
            self.cells = []
            assert count <= self.opened[-1].n_ubatch
        sequences = [batch.seq_id[i][0] for i in range(count)]
        assert all(0 <= s < self.opened[-1].n_seq_max for s in sequences)
        for s in set(sequences):  # what llama.cpp insists on
            begin = len(self.positions(s)) and self.positions(s)[-1] + 1
            positions = [batch.pos[i] for i in range(count) if sequences[i] == s]
            assert positions == list(range(begin, begin + len(positions)))
        if len(self.cells) + count > self.n_ctx and not self.window and not self.recurrent:
            return 1
        self.computing = frozenset(sequences)
        status = self.during() or self.status
        if status:
            return status
        self.batches.append([(sequences[i], batch.token[i]) for i in range(count)])
        self._rows = {}
        for i in range(count):
            self.cells.append(Cell(batch.pos[i], batch.token[i], {sequences[i]}))
            if batch.logits[i]:
                self._rows[i] = self.tokens(sequences[i])
        if self.window:
            for s in set(sequences):
                self._drop(s, lambda cell, s=s: cell.position <= self._last(s) - self.window)  # type: ignore[misc]
        return 0

    def _last(self, sequence: int) -> int:
        return max(self.positions(sequence), default=-1)

    def _drop(self, sequence: int, which: Callable[[Cell], bool]) -> None:
        for cell in self.cells:
            if which(cell):
                cell.sequences.discard(sequence)
        self.cells = [cell for cell in self.cells if cell.sequences]

    def llama_memory_seq_rm(self, _: int, sequence: int, start: int, end: int) -> bool:
        if self.recurrent and 0 < start <= self._last(sequence):
            return False
        self._drop(sequence, lambda cell: cell.position >= start)
        return True

    def llama_memory_seq_cp(self, _: int, source: int, target: int, start: int, end: int) -> None:
        for cell in self.cells:
            if source in cell.sequences and start <= cell.position < end:
                cell.sequences.add(target)

    def _state(self, sequence: int, flags: int) -> list[tuple[int, int]]:
        own = [cell for cell in self.cells if sequence in cell.sequences]
        return sorted((cell.position, cell.token) for cell in own)

    def llama_state_seq_get_size_ext(self, _: int, sequence: int, flags: int) -> int:
        return 8 * len(self._state(sequence, flags))

    def llama_state_seq_get_data_ext(
        self, _: int, buffer: Any, size: int, sequence: int, flags: int
    ) -> int:
        numbers = [n for pair in self._state(sequence, flags) for n in pair]
        buffer[: 4 * len(numbers)] = list(array("i", numbers).tobytes())
        return 4 * len(numbers)

    def llama_state_seq_set_data_ext(
        self, _: int, buffer: Any, size: int, sequence: int, flags: int
    ) -> int:
        numbers = array("i", bytes(buffer[:size]))
        self._drop(sequence, lambda cell: True)
        for position, token in zip(numbers[0::2], numbers[1::2], strict=True):
            self.cells.append(Cell(position, token, {sequence}))
        return size

    def llama_memory_clear(self, _: int, data: bool) -> None:
        self.cells = []

    def llama_model_n_swa(self, _: int) -> int:
        return self.window

    def llama_memory_seq_pos_min(self, _: int, sequence: int) -> int:
        return min(self.positions(sequence), default=-1)

    def llama_memory_seq_pos_max(self, _: int, sequence: int) -> int:
        return self._last(sequence)


def load(llama: FakeLlama, **settings: Any) -> tuple[LlamaModel, LlamaContext]:
    """What the engine loads with these settings."""
    chosen, log = LoadSettings(Path("model.gguf"), **settings), LogTail(llama)
    model = LlamaModel(llama, chosen, log)
    return model, LlamaContext(model, chosen, log)
