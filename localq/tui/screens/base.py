"""What the screens have in common: the bar at the top, the status line, the keys at the bottom."""

from __future__ import annotations

from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.shell import Shell
from localq.tui.watch import HomeNews
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.status_line import StatusLine
from localq.tui.widgets.top_bar import TopBar

__all__ = ["SCREENS", "AppScreen"]

SCREENS = (
    ("1", "library", msg("Library")),
    ("2", "hub", msg("Hub")),
    ("3", "jobs", msg("Jobs")),
    ("4", "machine", msg("Machine")),
    ("5", "settings", msg("Settings")),
)
"""The key, the name of the app's mode, and the title of each."""


class AppScreen(CallListener, Screen[None]):
    """Subclasses compose what stands between the bars."""

    NAME: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"app.show('{name}')", title, show=False) for key, name, title in SCREENS),
        Binding("question_mark", "app.help", msg("Help"), key_display="?"),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context

    @property
    def shell(self) -> Shell:
        return cast(Shell, self.app)

    def compose(self) -> ComposeResult:
        yield TopBar(SCREENS, self.NAME)
        yield from self.compose_body()
        yield StatusLine()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        raise NotImplementedError

    def set_right(self, text: str) -> None:
        """What the bar at the top says on its right."""
        self.query_one(TopBar).right = text

    def home_changed(self, news: HomeNews) -> None:
        """Jobs went on, or the library changed; also called when the screen is shown again."""
