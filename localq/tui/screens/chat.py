"""A conversation with one model."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import reactive
from textual.screen import Screen

from localq.display import printable
from localq.errors import Cancelled, LocalqError
from localq.events import Note, Started
from localq.messages import msg, translate
from localq.tui.calls import CallListener, CallNews, Say, ServiceCall, Written
from localq.tui.chat_handle import ChatHandle
from localq.tui.chat_status import ChatState, ChatStatus, status_text
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.prompt import Prompt
from localq.tui.widgets.status_line import StatusLine
from localq.tui.widgets.title_bar import TitleBar
from localq.tui.widgets.transcript import Reply, Transcript

if TYPE_CHECKING:
    from localq.engine.client import Generation, LoadedModel
    from localq.library.model import Model

__all__ = ["ChatScreen"]

_ENDS = {
    "cancelled": msg("stopped"),
    "length": msg("cut off: the longest reply allowed"),
    "context": msg("cut off: the context is full"),
}


def _end(stop: str) -> str | None:
    return translate(_ENDS[stop]) if stop in _ENDS else None


class ChatScreen(CallListener, Screen[None]):
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_reply", msg("Stop")),
        Binding("escape", "back", msg("Back")),
    ]

    status: reactive[ChatStatus] = reactive(ChatStatus())

    def __init__(self, context: AppContext, model: Model) -> None:
        super().__init__()
        self.context = context
        self._model = model
        open_chat = context.services.chat.open
        self._handle = ChatHandle(lambda emit, cancel: open_chat(model.name, emit, cancel))
        self._label = printable(model.name).rpartition("/")[2]
        self._reply: Reply | None = None
        self._asked = ""
        """What the user said last."""
        self._loading: ServiceCall[LoadedModel] | None = None
        self._replying: ServiceCall[Generation] | None = None
        self._began_at = 0.0
        self._pieces = 0

    def compose(self) -> ComposeResult:
        yield TitleBar(Text(self._label, style="bold"))
        with Container(id="conversation"):
            yield Transcript()
        yield Prompt()
        yield StatusLine()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Transcript).introduce(tr("Loading {model} into memory…", model=self._label))
        handle = self._handle
        self._loading = self.context.calls.start(
            self,
            lambda say, cancel: handle.open(say, cancel),
            done=self._loaded,
            failed=self._not_loaded,
            heard=self._heard_loading,
        )

    def on_unmount(self) -> None:
        for job in (self._loading, self._replying):
            if job is not None:
                job.cancel.set()
        self.context.calls.start_quietly(self._handle.close)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop_reply":
            return self.status.state is ChatState.GENERATING
        if action == "back":
            return self.status.state is not ChatState.GENERATING
        return True

    def watch_status(self, before: ChatStatus, status: ChatStatus) -> None:
        self.query_one(TitleBar).set_right(status_text(status))
        if status.state is not before.state:
            self.query_one(Prompt).accepting = status.state is ChatState.IDLE
            self.refresh_bindings()

    def _enter(self, state: ChatState) -> None:
        self.status = replace(self.status, state=state)

    # --- loading ---

    def _heard_loading(self, news: CallNews) -> None:
        if isinstance(news, Note):
            self.query_one(Transcript).introduce(news.text)
        elif isinstance(news, Started):
            self.query_one(Transcript).introduce(news.title)

    def _loaded(self, loaded: LoadedModel) -> None:
        self.query_one(Transcript).introduce(tr("Say something."))
        self.status = replace(self.status, state=ChatState.IDLE, n_ctx=loaded.n_ctx)

    def _not_loaded(self, error: LocalqError) -> None:
        self.query_one(Transcript).show_error(error)
        self._enter(ChatState.FAILED)

    # --- talking ---

    @on(Prompt.Refused)
    def _refuse(self) -> None:
        if self.status.state is ChatState.LOADING:
            self.notify(
                tr("The model is still being loaded; your text stays here until then."),
                markup=False,
            )

    @on(Prompt.Submitted)
    def _send(self, message: Prompt.Submitted) -> None:
        transcript = self.query_one(Transcript)
        transcript.say(message.text)
        self._reply = transcript.begin_reply(self._label)
        self._pieces = 0
        self._enter(ChatState.GENERATING)
        self._asked = message.text
        handle, text = self._handle, message.text

        def work(say: Say, cancel: threading.Event) -> Generation:
            def on_text(piece: str) -> None:
                say(Written(piece))

            return handle.reply(text, emit=say, cancel=cancel, on_text=on_text)

        self._replying = self.context.calls.start(
            self, work, done=self._replied, failed=self._not_replied, heard=self._heard
        )

    def _heard(self, news: CallNews) -> None:
        if isinstance(news, Written) and self._reply is not None:
            now = self.context.clock.ticks()
            if not self._pieces:
                self._began_at = now
            self._pieces += news.pieces
            self._reply.write(news.text)
            passed = now - self._began_at
            self.status = replace(
                self.status,
                rate=self._pieces / passed if passed > 0 else self.status.rate,
                used=self.status.used + news.pieces,
            )
        elif isinstance(news, Note):
            self.query_one(Transcript).remark(news.text)

    def _replied(self, generation: Generation) -> None:
        if self._reply is not None:
            self._reply.finish(_end(generation.stop))
        seconds = generation.generate_seconds
        self.status = replace(
            self.status,
            state=ChatState.IDLE,
            rate=generation.generated_tokens / seconds if seconds > 0 else None,
            used=generation.prompt_tokens + generation.generated_tokens,
        )

    def _not_replied(self, error: LocalqError) -> None:
        if self._reply is not None:
            if isinstance(error, Cancelled):
                self._reply.finish(tr("stopped"))
            else:
                self._reply.fail(error)
                prompt = self.query_one(Prompt)
                if not prompt.text:  # nothing was answered: it need not be typed again
                    prompt.text = self._asked
                    prompt.move_cursor(prompt.document.end)
        self._enter(ChatState.IDLE)

    def action_stop_reply(self) -> None:
        if self._replying is not None:
            self._replying.cancel.set()
            self._enter(ChatState.STOPPING)

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll(self, direction: int) -> None:
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.scroll_page_up(animate=False)
        else:
            transcript.scroll_page_down(animate=False)
