"""Lists and fields of the dialogs, with their enter key named in the footer."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList

from localq.messages import msg

__all__ = ["ChoiceList", "SpecInput"]


class ChoiceList(OptionList):
    """`leave_at_top`: up on the first line goes to the field above instead of round to the end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", msg("Start"), key_display="↵"),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    def __init__(self, *, classes: str | None = None, leave_at_top: bool = False) -> None:
        super().__init__(classes=classes, markup=False)
        self._leave_at_top = leave_at_top

    def action_cursor_up(self) -> None:
        if self._leave_at_top and not self.highlighted:
            self.screen.focus_previous()
        else:
            super().action_cursor_up()


class SpecInput(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", msg("Pull"), key_display="↵")
    ]
