"""Vectors as the engine's client gives them, put together from its replies."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from localq.engine.embedding_requests import Embedded, Pooling, Vectors
from localq.errors import EngineError
from localq.messages import msg

__all__ = ["EmbeddedText", "Embedding", "Input", "VectorCollector", "batches"]

Input: TypeAlias = str | Sequence[int]
"""A text, or its tokens."""

_TEXTS = 256
_CHARACTERS = 4 << 20
"""In one request. Each may take 12 bytes of its line."""


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    values: array[float]
    """float32, [rows, width], row after row."""
    rows: int
    """1; with pooling "none" one for each token."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Embedding:
    texts: tuple[EmbeddedText, ...]
    width: int
    pooling: Pooling


def batches(inputs: Sequence[Input]) -> Iterator[Sequence[Input]]:
    """The inputs in runs, each of which fits into a request."""
    start = size = 0
    for number, one in enumerate(inputs):
        if number > start and (number - start == _TEXTS or size + len(one) > _CHARACTERS):
            yield inputs[start:number]
            start, size = number, 0
        size += len(one)
    yield inputs[start:]


class VectorCollector:
    """The replies to one request."""

    def __init__(self, count: int) -> None:
        self._data = [bytearray() for _ in range(count)]
        self._rows = [0] * count

    def take(self, vectors: Vectors) -> None:
        try:
            self._data[vectors.index] += base64.b64decode(vectors.data, validate=True)
            self._rows[vectors.index] += vectors.rows
        except (IndexError, binascii.Error):
            raise EngineError(msg("the engine gave vectors that cannot be read")) from None

    def texts(self, done: Embedded) -> Iterator[EmbeddedText]:
        """The texts, once the request is `done`. EngineError where something is missing."""
        for data, rows, tokens in zip(self._data, self._rows, done.tokens, strict=True):
            wanted = tokens if done.pooling == "none" else 1
            if rows != wanted or len(data) != 4 * rows * done.width:
                raise EngineError(msg("the engine gave vectors that cannot be read"))
            values = array("f", bytes(data))
            if sys.byteorder == "big":
                values.byteswap()
            yield EmbeddedText(values, rows, tokens)
