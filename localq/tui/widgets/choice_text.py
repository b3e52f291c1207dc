"""A model worth pulling, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from localq.display import byte_size, printable, short_count
from localq.tui.text import tr

if TYPE_CHECKING:
    from localq.services.pull.pull import Choice

__all__ = ["choice_option", "choice_summary"]


def choice_summary(choice: Choice) -> Text:
    """ "1.1B · 2.2 GB · why", without what is not known."""
    parts = [
        "" if choice.parameters is None else short_count(choice.parameters),
        "" if choice.download_bytes is None else byte_size(choice.download_bytes),
        printable(choice.why),
    ]
    return Text(" · ".join(part for part in parts if part), style="dim")


def choice_option(choice: Choice) -> Text:
    """Its name, and the line below it."""
    text = Text()
    text.append(printable(choice.repo), "bold" if choice.recommended else "")
    if choice.recommended:
        text.append(f"  ★ {tr('recommended')}", "italic")
    return text.append("\n").append_text(choice_summary(choice))
