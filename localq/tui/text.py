"""Text that localq did not write (names, metadata, replies), made safe to draw.

Such text is drawn as it is: never read as markup, and without characters that steer a terminal or
turn the direction of the text around it.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

__all__ = ["clean", "clean_lines", "elide"]

# C0 and C1 controls, bidirectional marks, line separators, lone surrogates and tags.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_TAB = "    "


def clean(text: str) -> str:
    """One line of `text`: line breaks and tabs become spaces, other controls go."""
    return _UNSAFE.sub("", re.sub(r"[\t\r\n]+", " ", text))


def clean_lines(text: str) -> str:
    """`text` with its line breaks kept and its tabs widened."""
    return _UNSAFE_IN_LINES.sub("", text.replace("\r\n", "\n").replace("\t", _TAB))


def elide(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis at its end where something was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…" if width > 0 else ""
