"""What is read at once: the tokens of several sequences, in llama.cpp's arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MAX_SEQUENCES", "LlamaBatch", "Part", "ReadPart"]

MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ of llama.cpp."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of one sequence, to be read in one batch with others."""

    sequence: int
    position: int
    """How many tokens of the sequence were read before."""
    tokens: Sequence[int]
    outputs: int = 0
    """After so many of the last tokens there are logits."""


@dataclass(frozen=True, slots=True)
class ReadPart:
    """Tokens `start` to `stop` of a text; after the last `outputs` of them there are logits."""

    start: int
    stop: int
    outputs: int


class LlamaBatch:
    """llama.cpp's arrays for a batch, filled again and again."""

    def __init__(self, api: Any, size: int) -> None:
        self._tokens: Any = (ctypes.c_int32 * size)()
        self._positions: Any = (ctypes.c_int32 * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        self._ids = (ctypes.c_int32 * MAX_SEQUENCES)(*range(MAX_SEQUENCES))
        start, step = ctypes.addressof(self._ids), ctypes.sizeof(ctypes.c_int32)
        self._addresses = [start + step * i for i in range(MAX_SEQUENCES)]
        self._sequences: Any = (ctypes.c_void_p * size)()
        self._outputs: Any = (ctypes.c_int8 * size)()
        self._batch = api.llama_batch(
            0,
            self._tokens,
            None,
            self._positions,
            self._counts,
            ctypes.cast(self._sequences, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            self._outputs,
        )

    def of(self, parts: Sequence[Part]) -> Any:
        """The llama_batch of these parts; the next call changes it."""
        end = 0
        for part in parts:
            count = len(part.tokens)
            begin, end = end, end + count
            outputs = part.outputs
            self._tokens[begin:end] = list(part.tokens)
            self._positions[begin:end] = list(range(part.position, part.position + count))
            self._sequences[begin:end] = [self._addresses[part.sequence]] * count
            self._outputs[begin:end] = [0] * (count - outputs) + [1] * outputs
        self._batch.n_tokens = end
        return self._batch
