"""Columns of text, laid out at once: a thousand rows take milliseconds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["NUMERIC", "lay_out", "width_of"]

NUMERIC = frozenset(["SIZE", "PARAMETERS", "BYTES"])
"""Headings of columns that go to the right."""
_GAP = "  "
_NARROWEST = 8


def lay_out(
    headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None
) -> Iterator[str]:
    """The lines of a table, its headings first.

    The widest columns are cut to fit `width` terminal cells; None: as wide as they need.
    """
    cells = [list(headings), *map(list, rows)]
    sizes = [[width_of(cell) for cell in row] for row in cells]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
    right = [heading in NUMERIC for heading in headings]
    for row, lengths in zip(cells, sizes, strict=True):
        parts: list[str] = []
        for cell, length, column, to_right in zip(row, lengths, widths, right, strict=True):
            if length > column:
                cell, length = _cut(cell, column), column
            padding = " " * (column - length)
            parts.append(padding + cell if to_right else cell + padding)
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


def _narrow(widths: list[int], room: int) -> None:
    """Take from the widest until all fit, or nothing more can be taken."""
    while sum(widths) > room:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return
        others = sorted(widths)[-2] if len(widths) > 1 else _NARROWEST
        spare = sum(widths) - room
        step = max(1, min(spare, widths[widest] - max(others, _NARROWEST)))
        widths[widest] -= step


def _cut(text: str, width: int) -> str:
    """`text` cut to exactly `width` cells, with an ellipsis at its end."""
    kept, used = "", 0
    for character in text:
        cells = _cells(character)
        if used + cells > width - 1:
            break
        kept, used = kept + character, used + cells
    return kept + "…" + " " * (width - 1 - used)
