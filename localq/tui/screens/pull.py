"""The pull dialog: a name of the Hub, or one of the models that fit this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.types import CSSPathType
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localq.display import printable
from localq.errors import LocalqError
from localq.tui import strings
from localq.tui.context import AppContext
from localq.tui.jobs import Say
from localq.tui.screens.job_dialog import DialogState, JobDialog
from localq.tui.widgets.choice_list import ChoiceList, SpecInput
from localq.tui.widgets.choice_text import choice_summary
from localq.tui.widgets.job_progress import JobProgressBar
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

if TYPE_CHECKING:
    from localq.services.pull.pull import Choice, PullResult

__all__ = ["PullDialog"]


class PullDialog(JobDialog["PullResult"]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "pull.tcss"]
    AUTO_FOCUS = "Input"
    STOP_QUESTION = strings.PULL_STOP
    STOPPED_JOB = strings.PULL_STOPPED_JOB
    BINDINGS: ClassVar[list[BindingType]] = [Binding("down", "app.focus_next", show=False)]

    def __init__(
        self,
        context: AppContext,
        choices: Sequence[Choice] | None = None,
        *,
        at_once: str | None = None,
    ) -> None:
        """`choices`, if they are known already; `at_once`: a model to pull without asking."""
        super().__init__(context)
        self._choices = choices
        self._at_once = at_once
        self._spec = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = strings.PULL_TITLE
            yield Static(id="source", markup=False)
            yield SpecInput(placeholder=strings.PULL_INPUT, id="spec", classes="choosing")
            yield Notice()  # above the list, which takes what room a small terminal has left
            yield Static(strings.PULL_LOOKING, id="fitting", classes="choosing", markup=False)
            yield ChoiceList(classes="choosing", leave_at_top=True)
            yield JobProgressBar(self.context.clock.ticks)
        yield KeyBar()

    def on_mount(self) -> None:
        if self._choices is not None:
            self._offer(self._choices)
        else:
            choices = self.context.services.choices
            self.context.jobs.start(
                self,
                lambda say, cancel: choices(),
                done=self._offer,
                failed=self._cannot_offer,
            )
        if self._at_once is not None:
            self._start(self._at_once)

    def focus_choice(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        if spec := event.value.strip():
            self._start(spec)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if self._choices:
            self._start(self._choices[event.option_index].repo)

    def _offer(self, choices: Sequence[Choice]) -> None:
        self._choices = choices
        options = self.query_one(ChoiceList)
        options.clear_options()
        options.add_options(Option(_prompt(choice)) for choice in choices)
        options.highlighted = 0 if choices else None
        told = strings.PULL_FITTING if choices else strings.PULL_NO_CHOICES
        self.query_one("#fitting", Static).update(told)

    def _cannot_offer(self, error: LocalqError) -> None:
        self.query_one("#fitting", Static).update(strings.PULL_NO_CHOICES)
        if self.state is DialogState.CHOOSING:
            self.query_one(Notice).show_error(error)

    def _start(self, spec: str) -> None:
        pull = self.context.services.pull

        def work(say: Say, cancel: threading.Event) -> PullResult:
            return pull(spec, say, cancel)

        self.query_one("#source", Static).update(Text(printable(spec), style="bold"))
        self.begin(work)


def _prompt(choice: Choice) -> Text:
    text = Text()
    text.append(printable(choice.repo), "bold" if choice.recommended else "")
    if choice.recommended:
        text.append(f"  {strings.RECOMMENDED}", "italic")
    return text.append("\n").append_text(choice_summary(choice))
