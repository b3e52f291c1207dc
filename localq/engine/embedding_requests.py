"""Texts as vectors, and texts ranked: what is asked of the engine, and what it answers.

Part of the protocol that `protocol.py` describes. `embed` is answered by `vectors` replies, the
rows of each text in order, and then by `embedded`; `rank` by `ranked` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["MAX_TEXTS", "POOLINGS", "Embed", "Embedded", "Pooling", "Rank", "Ranked", "Vectors"]

Pooling: TypeAlias = Literal["mean", "cls", "last", "none"]
"""How the vectors of a text's tokens become its own: their mean, that of the first token, that of
the last one; "none" leaves one for each token."""

POOLINGS: tuple[Pooling, ...] = ("none", "mean", "cls", "last")
"""At the place of their numbers in a GGUF (`<architecture>.pooling_type`)."""

MAX_TEXTS = 2048
"""In one request."""
_MAX_DIMENSIONS = 1 << 20


@dataclass(frozen=True, slots=True)
class Embed:
    """Vectors of `inputs`: texts, or tokens as they are. UsageError."""

    inputs: tuple[str | tuple[int, ...], ...]
    pooling: Pooling | None = None
    """None: as the model says; the mean where it says nothing."""
    normalize: bool | None = None
    """Whether vectors get the length 1; None: yes, but not those of single tokens."""
    dimensions: int | None = None
    """Only so many numbers of each vector, the first ones; for models trained for that."""
    truncate: bool = False
    """Whether a text that is too long is cut at its end, instead of being refused."""

    def __post_init__(self) -> None:
        _check_count(self.inputs)
        if self.dimensions is not None and not 1 <= self.dimensions <= _MAX_DIMENSIONS:
            raise UsageError(
                msg(
                    "dimensions is {dimensions}; it must be 1 to {most:,}",
                    dimensions=self.dimensions,
                    most=_MAX_DIMENSIONS,
                )
            )


@dataclass(frozen=True, slots=True)
class Rank:
    """How well each of `documents` answers `query`. UsageError."""

    query: str
    documents: tuple[str, ...]
    truncate: bool = False
    """Whether a document that is too long is cut at its end, instead of being refused."""

    def __post_init__(self) -> None:
        _check_count(self.documents)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows of input number `index`: one, or with pooling "none" some of its tokens'."""

    index: int
    rows: int
    data: str
    """Little-endian float32, [rows, width], in base64."""


@dataclass(frozen=True, slots=True)
class Embedded:
    width: int
    """Numbers in each vector."""
    pooling: Pooling
    tokens: tuple[int, ...]
    """Of each input, as they were read."""


@dataclass(frozen=True, slots=True)
class Ranked:
    scores: tuple[float, ...]
    """Of each document, as the model gives them: higher is better, and no other scale is known."""
    tokens: tuple[int, ...]
    """Of the query and each document together."""


def _check_count(texts: Sequence[object]) -> None:
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise UsageError(
            msg(
                "{count:,} texts in one request; it must be 1 to {most:,}",
                count=len(texts),
                most=MAX_TEXTS,
            )
        )
