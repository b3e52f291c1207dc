"""One line to be typed: another name, tags, a note, the name of a model to pull."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Input, Static

from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

__all__ = ["TextDialog"]


class _Line(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", msg("Save"), key_display="↵"),
    ]


class TextDialog(CallListener, ModalScreen[bool]):
    """Stays open, with what was typed, until `work` takes it; dismissed with whether it did."""

    CSS_PATH: ClassVar[CSSPathType | None] = "dialog.tcss"
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", msg("Close")),
    ]

    def __init__(
        self,
        context: AppContext,
        title: str,
        about: str,
        work: Callable[[str], object],
        *,
        value: str = "",
    ) -> None:
        """`title` and `about` in the user's language; `work` is called in a thread."""
        super().__init__()
        self.context = context
        self._title = title
        self._about = about
        self._work = work
        self._value = value
        self._busy = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            yield Static(Text(self._about, overflow="fold"), classes="about")
            yield _Line(self._value)
            yield Notice()
        yield KeyBar()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._submit(event.value)

    def _submit(self, text: str) -> None:
        if self._busy:
            return
        self._busy = True
        self.context.calls.start(
            self,
            lambda say, cancel: self._work(text.strip()),
            done=lambda _: self.dismiss(True),
            failed=self._refused,
        )

    def _refused(self, error: LocalqError) -> None:
        self._busy = False
        self.query_one(Notice).show_error(error)

    def action_close(self) -> None:
        self.dismiss(False)
