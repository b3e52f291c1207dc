"""What the library shows before it has a model: which keys bring one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.reactive import reactive
from textual.widgets import Static

from localq.display import printable
from localq.errors import LocalqError
from localq.tui import strings
from localq.tui.context import AppContext
from localq.tui.jobs import JobListener
from localq.tui.widgets.choice_text import choice_summary

if TYPE_CHECKING:
    from localq.services.pull.pull import Choice

__all__ = ["EmptyLibrary"]


class EmptyLibrary(JobListener, Container):
    DEFAULT_CSS = """
    EmptyLibrary {
        align: center middle;
        Static { width: 66; max-width: 100%; height: auto; }
    }
    """

    choices: reactive[Sequence[Choice] | None] = reactive(None)
    """Models that fit this machine, best first; None while they are being looked for."""

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self._body = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._body

    def look(self) -> None:
        """Look for models that fit this machine."""
        choices = self.context.services.choices
        self.context.jobs.start(
            self, lambda say, cancel: choices(), done=self._found, failed=self._found_nothing
        )

    def watch_choices(self, choices: Sequence[Choice] | None) -> None:
        keys = Table.grid(padding=(0, 2, 0, 0))
        keys.add_column(no_wrap=True)
        keys.add_column(overflow="fold")
        if choices is None:
            keys.add_row(_key("p"), Text(strings.EMPTY_LOOKING, style="dim"))
        elif choices:
            keys.add_row(_key("p"), Text(strings.EMPTY_PULL.format(printable(choices[0].repo))))
            keys.add_row(Text(), choice_summary(choices[0]))
        if choices is None or choices:
            keys.add_row()
        keys.add_row(_key("t"), Text(strings.EMPTY_DEMO))
        keys.add_row()
        keys.add_row(_key("o"), Text(strings.EMPTY_OTHER))
        title = Text(strings.EMPTY_TITLE, style="bold")
        self._body.update(Group(title, Text(strings.EMPTY_TEXT, style="dim"), Text(), keys))

    def _found(self, choices: Sequence[Choice]) -> None:
        self.choices = choices

    def _found_nothing(self, error: LocalqError) -> None:
        """The demo can be pulled all the same; the pull dialog says what is wrong."""
        self.choices = ()


def _key(key: str) -> Text:
    return Text(f" {key} ", style="reverse")
