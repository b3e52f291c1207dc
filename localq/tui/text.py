"""Texts as the terminal shows them: in the user's language, and no wider than their cells."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from localq.messages import msg, translate

__all__ = ["elide", "padded", "tr"]


def tr(template: str, /, **values: object) -> str:
    """A text in the language of this moment: called where it is drawn, never when a module or a
    class is made. What is bound earlier, as the name of a key, is a `msg`."""
    return translate(msg(template, **values))


def elide(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis at its end where something was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…" if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells."""
    text = elide(text, width)
    room = " " * (width - cell_len(text))
    return room + text if right else text + room
