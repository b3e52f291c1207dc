"""How long a chat template may take, and how much it may make."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

__all__ = [
    "MAX_INT_BITS",
    "MAX_SECONDS",
    "MAX_SIZE",
    "RenderBudget",
    "LimitError",
    "check_growth",
    "listed",
    "product",
    "too_large",
    "weigh",
]

MAX_SIZE = 16 << 20
"""Characters in a rendered prompt, or in any value on the way there."""
MAX_SECONDS = 5.0
MAX_INT_BITS = 4096
_MAX_MADE = 64 * MAX_SIZE
_ITEM_SIZE = 64  # so a value may have a quarter of a million parts
# Methods and filters whose result may be as large as the product of what goes in.
_MULTIPLYING = frozenset(
    [
        "batch",
        "center",
        "expandtabs",
        "format",
        "format_map",
        "indent",
        "join",
        "ljust",
        "replace",
        "rjust",
        "round",
        "slice",
        "to_bytes",
        "translate",
        "truncate",
        "wordwrap",
        "zfill",
    ]
)


class LimitError(Exception):
    """A template takes too long, or makes something too large."""


class RenderBudget:
    """Of one rendering: its time, and all that it makes, which the template may keep."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + MAX_SECONDS
        self._made = 0

    def check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise LimitError(f"it takes more than {MAX_SECONDS:g} seconds")

    def spend(self, characters: int) -> None:
        self._made += characters
        if self._made > _MAX_MADE:
            raise LimitError(f"it makes more than {_MAX_MADE:,} characters on the way")


def too_large() -> NoReturn:
    raise LimitError(f"it makes more than {MAX_SIZE:,} characters")


def weigh(value: Any) -> int:
    """About how many characters `value` takes when printed. LimitError above MAX_SIZE: nested
    lists may hold the same part many times over and print far larger than they are."""
    total = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        total += _ITEM_SIZE
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, range):
            total += _ITEM_SIZE * len(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif isinstance(item, int) and item.bit_length() > MAX_INT_BITS:
            too_large()
        if total + _ITEM_SIZE * len(waiting) > MAX_SIZE + _ITEM_SIZE:
            too_large()
    return total


def check_growth(name: str, value: Any, others: Sequence[Any]) -> None:
    """LimitError if the method or filter `name` could make something too large of `value`."""
    if name not in _MULTIPLYING:
        return
    sizes = [weigh(value)]
    for other in others:
        sizes.append(abs(other) if isinstance(other, int) else weigh(other))
        if isinstance(other, list | tuple):
            sizes += [abs(item) for item in other if isinstance(item, int)]
    if name in ("format", "format_map"):  # "%999999999d", "{:>999999999}"
        digits = "".join(c if c.isdecimal() else " " for c in str(value)).split()
        sizes += [int(number[:18]) for number in digits]
    if product(sizes) > 4 * MAX_SIZE:
        too_large()


def product(sizes: Iterable[float]) -> float:
    result = 1.0
    for size in sizes:
        result *= max(1, size)
    return result


def listed(value: Any) -> Any:
    """A value that can be weighed: iterators become lists."""
    return list(islice(value, MAX_SIZE)) if isinstance(value, Iterator) else value
