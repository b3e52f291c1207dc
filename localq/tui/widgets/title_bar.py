"""The line at the top: a name on the left, a state on the right."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

__all__ = ["TitleBar"]


class TitleBar(Horizontal):
    DEFAULT_CSS = """
    TitleBar {
        height: 1;
        padding: 0 2;
        background: $background;
        .title-bar--left { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        .title-bar--right { width: auto; margin-left: 2; color: $text-muted; }
    }
    """

    def __init__(self, left: Text) -> None:
        super().__init__()
        self._left = Static(left, classes="title-bar--left")
        self._right = Static(classes="title-bar--right")

    def compose(self) -> ComposeResult:
        yield self._left
        yield self._right

    def set_left(self, text: Text) -> None:
        self._left.update(text)

    def set_right(self, text: Text) -> None:
        self._right.update(text)
