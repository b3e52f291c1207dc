"""A dialog that lets the user choose something, runs it as a job, and closes with the result."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import ModalScreen

from localq.errors import Cancelled, LocalqError
from localq.tui import strings
from localq.tui.context import AppContext
from localq.tui.jobs import JobListener, JobNews, ServiceCall, Work, Written
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.widgets.job_progress import JobProgressBar
from localq.tui.widgets.notice import Notice

__all__ = ["JobDialog", "DialogState"]

Result = TypeVar("Result")

_ASK_AFTER = 5.0
"""Seconds of work that are not thrown away without a question."""


class DialogState(StrEnum):
    CHOOSING = "choosing"
    WORKING = "working"
    STOPPING = "stopping"


class JobDialog(JobListener, ModalScreen[Result | None], Generic[Result]):
    """Subclasses compose one `Notice` and one `JobProgressBar`, and show or hide their other
    widgets by the classes `-choosing`, `-working` and `-stopping`. Dismissed with None: nothing
    was made.
    """

    STOP_QUESTION: ClassVar[str]
    STOPPED_JOB: ClassVar[str]
    """What becomes of the work so far."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", strings.KEY_CLOSE),
        Binding("escape", "stop", strings.KEY_STOP),
        Binding("escape", "abandon", strings.KEY_LEAVE_RUNNING),
    ]

    state: reactive[DialogState] = reactive(DialogState.CHOOSING)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self._job: ServiceCall[Result] | None = None
        self._began_at = 0.0
        self._question: ConfirmDialog | None = None
        self._result: Result | None = None
        self.is_over = False
        """Whether the dialog closes as soon as it is on top."""

    def begin(self, work: Work[Result]) -> None:
        """Run `work`; the dialog closes with its result, or shows its error. One at a time: what
        comes while another job runs, as of an enter key pressed twice, is not heard."""
        if self.state is not DialogState.CHOOSING or self.is_over:
            return
        self.query_one(Notice).hide()
        self.query_one(JobProgressBar).begin()
        self.state = DialogState.WORKING
        self._began_at = self.context.clock.ticks()
        self._job = self.context.jobs.start(
            self, work, done=self._finished, failed=self._failed, heard=self._heard
        )

    def focus_choice(self) -> None:
        """Put the focus back where the user chooses; called after a job that made nothing."""

    def ask(self, question: ConfirmDialog, yes: Callable[[], object]) -> None:
        """Call `yes` if the user agrees. The question goes away should the job end first."""
        self._question = question

        def answered(agreed: bool | None) -> None:
            self._question = None
            if agreed:
                yes()

        self.app.push_screen(question, answered)

    def watch_state(self, state: DialogState) -> None:
        for each in DialogState:
            self.set_class(each is state, f"-{each}")
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        belongs_to = {
            "close": DialogState.CHOOSING,
            "stop": DialogState.WORKING,
            "abandon": DialogState.STOPPING,
        }
        return belongs_to.get(action, self.state) is self.state

    def action_close(self) -> None:
        self._leave(None)

    def action_abandon(self) -> None:
        """Close although the job has not stopped yet; it was told to and will."""
        self._leave(None)

    def action_stop(self) -> None:
        if self.context.clock.ticks() - self._began_at <= _ASK_AFTER:
            self._stop()
            return
        question = ConfirmDialog(
            strings.STOP_TITLE,
            Text(f"{self.STOP_QUESTION} {self.STOPPED_JOB}"),
            yes=strings.ANSWER_STOP,
            no=strings.ANSWER_CONTINUE,
        )
        self.ask(question, self._stop)

    def confirm_quit(self, leave: Callable[[], object]) -> bool:
        """Ask before the app ends this dialog's job; whether there was anything to ask about."""
        if self.state is not DialogState.WORKING:
            return False
        if self._question is None:
            question = ConfirmDialog(
                strings.QUIT_TITLE,
                Text(f"{strings.QUIT_QUESTION} {self.STOPPED_JOB}"),
                yes=strings.ANSWER_QUIT,
                no=strings.ANSWER_CONTINUE,
            )
            self.ask(question, leave)
        return True

    def on_screen_resume(self) -> None:
        if self.is_over:
            self.dismiss(self._result)

    def _stop(self) -> None:
        if self._job is not None and self.state is DialogState.WORKING:
            self._job.cancel.set()
            self.state = DialogState.STOPPING
            self.query_one(JobProgressBar).stopping()

    def _heard(self, news: JobNews) -> None:
        if self.state is DialogState.WORKING and not isinstance(news, Written):
            self.query_one(JobProgressBar).hear(news)

    def _finished(self, result: Result) -> None:
        self._leave(result)

    def _failed(self, error: LocalqError) -> None:
        if self._question is not None and self._question.is_active:
            self._question.dismiss(False)
        self.state = DialogState.CHOOSING
        notice = self.query_one(Notice)
        if isinstance(error, Cancelled):
            notice.show_remark(strings.STOPPED)
        else:
            notice.show_error(error)
        self.focus_choice()

    def _leave(self, result: Result | None) -> None:
        """Dismiss, but only from the top: `dismiss` would close whichever screen is there."""
        if self.is_over:
            return
        self.is_over = True
        self._result = result
        if self.is_active:
            self.dismiss(result)
        elif self._question is not None and self._question.is_active:
            self._question.dismiss(False)  # and then on_screen_resume
