"""Text in the cells of a terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

__all__ = ["elide"]


def elide(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis at its end where something was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…" if width > 0 else ""
