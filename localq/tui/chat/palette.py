"""The colours of a transcript, as the theme has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style

__all__ = ["COMPONENTS", "Palette"]

_NAMES = (
    *("muted", "user", "reply", "heading", "code", "quote", "link", "warning", "error", "bar"),
    "panel",
)
COMPONENTS = frozenset(f"transcript--{name}" for name in _NAMES)


@dataclass(frozen=True, slots=True)
class Palette:
    muted: Style
    user: Style
    reply: Style
    heading: Style
    code: Style
    """Code within a line."""
    quote: Style
    link: Style
    warning: Style
    error: Style
    bar: Style
    """Of the message that the cursor is on."""
    panel: Style
    """Behind fenced code."""
    dark: bool

    def markdown(self) -> Mapping[str, Style]:
        """As rich names the parts of Markdown."""
        headings = {f"markdown.h{level}": self.heading for level in range(1, 8)}
        return headings | {
            "markdown.code": self.code,
            "markdown.code_block": self.code,
            "markdown.block_quote": self.quote,
            "markdown.link": self.link,
            "markdown.link_url": self.muted,
            "markdown.hr": self.muted,
            "markdown.item.bullet": self.muted,
            "markdown.item.number": self.muted,
            "markdown.table.header": self.heading,
            "markdown.table.border": self.muted,
            "markdown.em": Style(italic=True),
            "markdown.strong": Style(bold=True),
            "markdown.s": Style(strike=True),
        }
