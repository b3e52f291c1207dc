"""The line at the top: a name on the left, a state on the right. It is drawn anew many times a
second, so it is one line and not a layout."""

from __future__ import annotations

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

__all__ = ["TitleBar"]

_GAP = 2


class TitleBar(Widget, can_focus=False):
    DEFAULT_CSS = """
    TitleBar {
        height: 1;
        padding: 0 2;
        background: $background;
    }
    """

    left: reactive[Text] = reactive(Text(""))
    right: reactive[Text] = reactive(Text(""))

    def render(self) -> Text:
        width = self.content_size.width
        right = self.right.copy()
        right.stylize("dim")
        left = self.left.copy()
        left.truncate(max(width - right.cell_len - _GAP, 0), overflow="ellipsis", pad=True)
        return Text.assemble(left, " " * _GAP, right, no_wrap=True, end="")
