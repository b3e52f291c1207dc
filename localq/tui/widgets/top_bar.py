"""The line at the top: the screens, each with its key, and what the present one has to say."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.widget import Widget

from localq.messages import translate
from localq.tui.text import elide

__all__ = ["TopBar"]


class TopBar(Widget, can_focus=False):
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {"top-bar--current", "top-bar--other", "top-bar--right"}  # noqa: RUF012
    DEFAULT_CSS = """
    TopBar {
        height: 1;
        padding: 0 1;
        background: $background;
        .top-bar--current { color: $primary; text-style: bold reverse; }
        .top-bar--other { color: $foreground; }
        .top-bar--right { color: $footer-description-foreground; }
    }
    """

    right: reactive[str] = reactive("")

    def __init__(self, screens: Sequence[tuple[str, str, str]], current: str) -> None:
        """`screens`: the key, the name and the title (a `msg`) of each."""
        super().__init__()
        self._screens = screens
        self._current = current

    def render(self) -> Text:
        text = Text(no_wrap=True, end="", overflow="crop")
        for key, name, title in self._screens:
            chosen = name == self._current
            style = self.get_component_rich_style(
                "top-bar--current" if chosen else "top-bar--other", partial=True
            )
            text.append(f" {key} {translate(title)} ", style + Style.from_meta({"show": name}))
            text.append(" ")
        left = self.content_size.width - text.cell_len
        right = elide(self.right, max(left - 1, 0))
        text.append(" " * (left - cell_len(right)))
        return text.append(right, self.get_component_rich_style("top-bar--right", partial=True))

    async def on_click(self, event: events.Click) -> None:
        if name := event.style.meta.get("show"):
            await self.run_action(f"app.show('{name}')")
