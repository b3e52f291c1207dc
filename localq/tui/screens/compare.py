"""Two models that answer the same, side by side: an F16 beside its Q4_0, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import ModalScreen, Screen
from textual.types import CSSPathType
from textual.widgets import OptionList

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.chat.conversation import Conversation
from localq.tui.chat.status import ChatState, ChatStatus
from localq.tui.chat.transcript import Transcript
from localq.tui.context import AppContext
from localq.tui.text import padded, tr
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.prompt import Prompt
from localq.tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from localq.library.model import Model

__all__ = ["CompareScreen", "ModelDialog"]


class CompareScreen(CallListener, Screen[None]):
    """Both have sessions of their own. They answer in turn, so that each is as fast as it is alone,
    and from one pool, which makes room where there is none for both."""

    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_reply", msg("Stop")),
        Binding("escape", "back", msg("Back")),
        Binding("ctrl+r", "retry", msg("Again"), key_display="^r", tooltip=msg("Another reply")),
    ]

    def __init__(self, context: AppContext, first: str, second: str) -> None:
        super().__init__()
        self.context = context
        self._names = (first, second)
        self._pool = context.services.chat.pool()
        self.both = (Conversation(context, self._pool), Conversation(context, self._pool))
        self._prompt = Prompt()
        self._waiting: str | None = None
        """What the second is to be asked once the first has answered; "": another reply."""

    def compose(self) -> ComposeResult:
        with Container(id="both"):
            yield from self.both
        yield self._prompt
        yield StatusLine()
        yield KeyBar()

    def on_mount(self) -> None:
        for one, name in zip(self.both, self._names, strict=True):
            self.watch(one, "status", self._moved)
            one.open(name)
            label = printable(name).rpartition("/")[2]
            one.transcript.introduce(tr("Loading {model} into memory…", model=label))

    def on_unmount(self) -> None:
        handles, pool = [one.handle for one in self.both], self._pool

        def close() -> None:
            for handle in handles:
                handle.close()
            pool.close()

        self.context.calls.start_quietly(close)

    @property
    def is_busy(self) -> bool:
        return self._waiting is not None or any(one.status.is_busy for one in self.both)

    def _moved(self, status: ChatStatus) -> None:
        ready = all(one.status.state is ChatState.IDLE for one in self.both)
        if self._waiting is not None and ready:
            waiting, self._waiting = self._waiting, None
            self._ask(self.both[1], waiting)
            return
        self._prompt.accepting = ready
        self.refresh_bindings()

    @on(Conversation.Changed)
    def _changed(self) -> None:
        for one in self.both:
            if one.view is not None and not one.view.path and one.status.state is ChatState.IDLE:
                one.transcript.introduce(tr("Say something."))

    @on(Prompt.Submitted)
    def _send(self, message: Prompt.Submitted) -> None:
        self._begin(message.text)

    def action_retry(self) -> None:
        said = all(one.view is not None and one.view.path for one in self.both)
        if self._prompt.accepting and said:
            self._begin("")

    def _begin(self, text: str) -> None:
        self._waiting = text
        self._ask(self.both[0], text)

    def _ask(self, one: Conversation, text: str) -> None:
        if text:
            one.send(text)
        else:
            one.retry()

    @on(Conversation.Unsent)
    def _put_back(self, event: Conversation.Unsent) -> None:
        self._waiting = None
        self._prompt.put_back(event.text)

    @on(Prompt.Refused)
    def _refuse(self) -> None:
        states = {one.status.state for one in self.both}
        if ChatState.LOADING in states:
            told = tr("The model is still being loaded; your text stays here until then.")
            self.notify(told, markup=False)
        elif ChatState.FAILED in states:
            self.notify(tr("No model is loaded; your text stays here."), markup=False)

    @on(Transcript.Copied)
    def _copied(self, event: Transcript.Copied) -> None:
        if event.text:
            self.app.copy_to_clipboard(event.text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop_reply":
                return self.is_busy
            case "back":
                return not self.is_busy
        return True

    def action_stop_reply(self) -> None:
        self._waiting = None
        for one in self.both:
            one.stop()

    def action_back(self) -> None:
        if not self._prompt.has_focus:
            self._prompt.focus()
        else:
            self.dismiss()

    def action_scroll(self, direction: int) -> None:
        for one in self.both:
            one.transcript.page(direction)


class ModelDialog(CallListener, ModalScreen[str]):
    """Dismissed with the name of a model that can chat; those of the same checkpoint come first."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "compare.tcss"]
    AUTO_FOCUS = "ChoiceList"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", msg("Close"))]

    def __init__(self, context: AppContext, beside: str) -> None:
        super().__init__()
        self.context = context
        self._beside = beside
        self._models: list[Model] = []
        self._list = ChoiceList()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("The other model")
            yield self._list
        yield KeyBar()

    def on_mount(self) -> None:
        models = self.context.services.library.models
        self.context.calls.start(
            self, lambda say, cancel: models(), done=self._offer, failed=self._complain
        )

    def _offer(self, models: Sequence[Model]) -> None:
        base = self._beside.partition(":")[0]
        self._models = sorted(
            (one for one in models if one.format.is_runnable and one.name != self._beside),
            key=lambda one: (one.name.partition(":")[0] != base, one.name),
        )
        if not self._models:
            self.app.notify(tr("There is no other model that can chat."), markup=False)
            self.dismiss(None)
            return
        width = 54
        self._list.add_options(
            f"{padded(printable(one.name), width)}  {byte_size(one.size_bytes)}"
            for one in self._models
        )
        self._list.highlighted = 0

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._models[event.option_index].name)

    def _complain(self, error: LocalqError) -> None:
        self.app.notify(printable(error.message), severity="error", markup=False)
        self.dismiss(None)

    def action_leave(self) -> None:
        self.dismiss(None)
