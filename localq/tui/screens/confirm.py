"""A question with two or three answers. Nothing happens unless one is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Button, Static

from localq.messages import msg
from localq.tui.text import tr
from localq.tui.widgets.key_bar import KeyBar

__all__ = ["Answer", "ConfirmDialog", "QuestionDialog"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`key` gives it, too; `label` says what it does, in the user's language."""

    name: str
    label: str
    key: str
    loses: bool = False
    """Whether something is lost by it."""


class QuestionDialog(ModalScreen[str]):
    """Dismissed with the name of the answer; the last one, which has the focus, changes nothing."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "confirm.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", msg("Close")),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, question: Text, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            yield Static(self._question, id="question")
            with Horizontal(id="answers"):
                for answer in self._answers:
                    yield Button(
                        Text(f"{answer.label} ({answer.key})"),
                        id=answer.name,
                        compact=True,
                        classes="-loses" if answer.loses else "",
                    )
        yield KeyBar()

    def on_mount(self) -> None:
        self.query(Button).last().focus()

    def on_key(self, event: events.Key) -> None:
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.name)

    def action_leave(self) -> None:
        self.dismiss(self._answers[-1].name)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)


class ConfirmDialog(QuestionDialog):
    """Yes or no; dismissed with "yes" or "no"."""

    def __init__(self, title: str, question: Text, *, yes: str, no: str | None = None) -> None:
        """`yes` and `no` name what each answer does."""
        answers = (Answer("yes", yes, "y", loses=True), Answer("no", no or tr("Keep"), "n"))
        super().__init__(title, question, answers)
