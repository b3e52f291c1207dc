"""Pictures among tokens. Nothing here knows a model.

A picture stands in a text as as many entries as it takes places in the model's memory, numbers
below zero: the first one is made of its hash, so that two texts are only alike where their pictures
are, the rest continues it. With most models each entry is a position of its own; with some (M-RoPE)
a picture's entries share a few positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = [
    "is_picture",
    "picture_entries",
    "picture_key",
    "pictures_in",
    "position",
    "whole_length",
]

_NEXT, _SHARED = -1, -2
"""The place after the one before, at the next position or at one that was counted already."""
_FIRST = -3


def is_picture(token: int) -> bool:
    return token < 0


def picture_entries(key: int, count: int, positions: int) -> list[int]:
    """What stands for a picture of that hash that takes `count` places and `positions` positions,
    at least 1 and at most as many."""
    if not 1 <= positions <= count:
        raise ValueError(f"{count} places and {positions} positions")
    return [_FIRST - key, *[_NEXT] * (positions - 1), *[_SHARED] * (count - positions)]


def picture_key(token: int) -> int | None:
    """The hash of the picture that begins here; None where none does."""
    return _FIRST - token if token <= _FIRST else None


def pictures_in(tokens: Sequence[int], start: int = 0) -> Iterator[tuple[int, int, int]]:
    """The pictures that begin at `start` or later: hash, first place, and the place behind it."""
    at = start
    while at < len(tokens):
        if tokens[at] > _FIRST:
            at += 1
            continue
        end = at + 1
        while end < len(tokens) and tokens[end] in (_NEXT, _SHARED):
            end += 1
        yield _FIRST - tokens[at], at, end
        at = end


def position(tokens: Sequence[int], length: int) -> int:
    """The position at which the text goes on after the first `length` tokens."""
    return length - sum(1 for token in tokens[:length] if token == _SHARED)


def whole_length(tokens: Sequence[int], length: int) -> int:
    """`length`, or less where it would cut a picture in two."""
    while 0 < length < len(tokens) and tokens[length] in (_NEXT, _SHARED):
        length -= 1
    return length
