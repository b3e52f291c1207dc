"""What a SentencePiece model says of itself beyond its pieces.

The facts are in the file as protocol buffers (SentencePiece's `sentencepiece_model.proto`), and
its Python library does not tell them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["SentencePieceTraits", "read_traits"]

_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE_TYPE, _USER_DEFINED = 3, 4
_SAYS_USER_DEFINED = bytes([_PIECE_TYPE << 3, _USER_DEFINED])
_MODEL_TYPE, _BYTE_FALLBACK = 3, 35
_CHARSMAP, _ADDS_SPACE, _JOINS_SPACES = 2, 3, 4
_UNIGRAM = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class SentencePieceTraits:
    """`unigram`: the likeliest pieces are sought rather than the best ones merged;
    `byte_fallback`: unknown characters become tokens of their bytes; `adds_space`: in front of
    every text; `joins_spaces`: runs of them count as one; `charsmap`: how characters are
    normalised, b"" for not at all; `user_defined`: the numbers of the pieces that are found in a
    text before it is cut into others."""

    unigram: bool
    byte_fallback: bool
    adds_space: bool
    joins_spaces: bool
    charsmap: bytes
    user_defined: frozenset[int]


def read_traits(model: bytes) -> SentencePieceTraits:
    """Raises ValueError for what is no SentencePiece model."""
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    user_defined: set[int] = set()
    pieces = 0
    for number, value in _fields(model):
        if number == _PIECE and isinstance(value, bytes):
            # Few pieces hold these two bytes at all, and to look for them costs next to nothing.
            if _SAYS_USER_DEFINED in value and (_PIECE_TYPE, _USER_DEFINED) in _fields(value):
                user_defined.add(pieces)
            pieces += 1
        elif isinstance(value, bytes) and number in (_TRAINER, _NORMALIZER):
            (trainer if number == _TRAINER else normalizer).update(_fields(value))
    charsmap = normalizer.get(_CHARSMAP, b"")
    return SentencePieceTraits(
        unigram=trainer.get(_MODEL_TYPE, _UNIGRAM) == _UNIGRAM,
        byte_fallback=bool(trainer.get(_BYTE_FALLBACK, 0)),
        adds_space=bool(normalizer.get(_ADDS_SPACE, 1)),
        joins_spaces=bool(normalizer.get(_JOINS_SPACES, 1)),
        charsmap=charsmap if isinstance(charsmap, bytes) else b"",
        user_defined=frozenset(user_defined),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields; nested messages as their bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {kind}")
        if size > len(message) - at:
            raise ValueError("a field ends beyond its message")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 0x80:
        return message[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
