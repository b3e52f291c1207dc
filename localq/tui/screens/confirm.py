"""A question that is answered with yes or no. Nothing happens unless it is yes."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Button, Static

from localq.tui import strings
from localq.tui.widgets.key_bar import KeyBar

__all__ = ["ConfirmDialog"]


class ConfirmDialog(ModalScreen[bool]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "confirm.tcss"]
    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", strings.KEY_YES),
        Binding("n", "answer(False)", strings.KEY_NO),
        Binding("escape", "answer(False)", strings.KEY_CLOSE, show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, question: Text, *, yes: str, no: str) -> None:
        """`yes` and `no` name what each answer does."""
        super().__init__()
        self._title = title
        self._question = question
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            yield Static(self._question, id="question")
            with Horizontal(id="answers"):
                yield Button(self._yes, id="yes", compact=True)
                yield Button(self._no, id="no", compact=True)
        yield KeyBar()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
