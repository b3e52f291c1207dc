"""The pull dialog: type the name of a model, or choose one that fits this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.choice_list import ChoiceList, SpecInput
from localq.tui.widgets.choice_text import choice_option
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

if TYPE_CHECKING:
    from localq.services.pull.pull import Choice

__all__ = ["PullDialog"]


class PullDialog(CallListener, ModalScreen[str]):
    """Dismissed with what to pull."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "pull.tcss"]
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", msg("Close")),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self._choices: Sequence[Choice] = ()
        self._checking = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("Pull a model")
            yield SpecInput(
                placeholder=tr("OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME:TYPE"), id="spec"
            )
            yield Notice()  # above the list, which takes what room a small terminal has left
            yield Static(tr("Looking for models that fit this machine…"), id="fitting")
            yield ChoiceList(leave_at_top=True)
        yield KeyBar()

    def on_mount(self) -> None:
        choices = self.context.services.hub.choices
        self.context.calls.start(
            self, lambda say, cancel: choices(), done=self._offer, failed=self._cannot_offer
        )

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        """A name that makes no sense is said here, where it can be mended."""
        spec, check = event.value.strip(), self.context.services.hub.check_spec
        if not spec or self._checking:
            return
        self._checking = True
        self.context.calls.start(
            self,
            lambda say, cancel: check(spec),
            done=lambda _: self.dismiss(spec),
            failed=self._refused,
        )

    def _refused(self, error: LocalqError) -> None:
        self._checking = False
        self.query_one(Notice).show_error(error)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if self._choices:
            self.dismiss(self._choices[event.option_index].repo)

    def _offer(self, choices: Sequence[Choice]) -> None:
        self._choices = choices
        options = self.query_one(ChoiceList)
        options.clear_options()
        options.add_options(Option(choice_option(choice)) for choice in choices)
        options.highlighted = 0 if choices else None
        options.styles.height = 2 * len(choices)
        told = (
            tr("Models that fit this machine")
            if choices
            else tr("No suggestions; type the name of any model above.")
        )
        self.query_one("#fitting", Static).update(told)
        if choices:
            sized = self.context.services.hub.sized
            self.context.calls.start(
                self,
                lambda say, cancel: sized(choices, cancel),
                done=self._show_sizes,
                failed=lambda error: None,  # a list without sizes is one, too
            )

    def _show_sizes(self, choices: Sequence[Choice]) -> None:
        """Below the names, which stay where they are."""
        options = self.query_one(ChoiceList)
        for i, choice in enumerate(choices):
            options.replace_option_prompt_at_index(i, choice_option(choice))

    def _cannot_offer(self, error: LocalqError) -> None:
        self._offer(())
        self.query_one(Notice).show_error(error)

    def action_close(self) -> None:
        self.dismiss(None)
