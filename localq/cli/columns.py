"""Columns of text, laid out at once: a thousand rows take milliseconds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from localq.messages import translate

__all__ = ["NUMERIC", "lay_out", "width_of"]

NUMERIC = frozenset(["SIZE", "PARAMETERS", "BYTES", "MESSAGES"])
"""Headings of columns that go to the right."""
_TYPED = frozenset(["NAME", "JOB", "WHAT", "FILE"])
"""Headings of columns with what a user may want to type."""
_CUT_LAST = NUMERIC | _TYPED | {"STATE", "WHEN"}
_GAP = "  "
_NARROWEST = 8


def lay_out(
    headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None
) -> Iterator[str]:
    """The lines of a table, its headings first.

    The widest columns are cut to fit `width` terminal cells, names and numbers last, and names in
    their middle; None: as wide as they need.
    """
    cells = [[translate(heading) for heading in headings], *map(list, rows)]
    sizes = [[width_of(cell) for cell in row] for row in cells]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    if width is not None:
        room = width - len(_GAP) * (len(widths) - 1)
        others = [i for i, heading in enumerate(headings) if heading not in _CUT_LAST]
        _narrow(widths, room, others)
        _narrow(widths, room, range(len(widths)))
    right = [heading in NUMERIC for heading in headings]
    for row, lengths in zip(cells, sizes, strict=True):
        parts: list[str] = []
        for index, (cell, length, column) in enumerate(zip(row, lengths, widths, strict=True)):
            if length > column:
                tail = column // 2 if headings[index] in _TYPED else 0
                cell, length = _cut(cell, column, tail), column
            padding = " " * (column - length)
            parts.append(padding + cell if right[index] else cell + padding)
        yield _GAP.join(parts).rstrip()


def width_of(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _narrow(widths: list[int], room: int, columns: Sequence[int]) -> None:
    """Take from the widest of the `columns` until all fit, or nothing more can be taken."""
    while columns and sum(widths) > room:
        widest = max(columns, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return
        others = sorted(widths[i] for i in columns)[-2] if len(columns) > 1 else _NARROWEST
        spare = sum(widths) - room
        step = max(1, min(spare, widths[widest] - max(others, _NARROWEST)))
        widths[widest] -= step


def _cut(text: str, width: int, tail: int) -> str:
    """`text` cut to exactly `width` cells, with an ellipsis before its last `tail` cells."""
    end = _beginning(text[::-1], tail)[::-1]
    begin = _beginning(text, width - 1 - width_of(end))
    return begin + "…" + end + " " * (width - 1 - width_of(begin) - width_of(end))


def _beginning(text: str, width: int) -> str:
    """As much of `text` as `width` cells take."""
    kept = 0
    for character in text:
        width -= _cells(character)
        if width < 0:
            break
        kept += 1
    return text[:kept]
