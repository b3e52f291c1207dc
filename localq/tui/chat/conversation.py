"""One conversation on the screen: its transcript, and the calls that make it go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive

from localq.chat_format.reply import ContentText, ReasoningText
from localq.display import printable
from localq.errors import Cancelled, LocalqError
from localq.events import Note, Started
from localq.tui.calls import CallListener, CallNews, Say, ServiceCall, Written
from localq.tui.chat.handle import ChatHandle, Outcome
from localq.tui.chat.hints import hint_for
from localq.tui.chat.status import ChatState, ChatStatus, status_text
from localq.tui.chat.transcript import Transcript
from localq.tui.chat.turn import Kind, Turn, file_text, turn_of
from localq.tui.chat.turn_lines import GrowingTurn
from localq.tui.chat.view import ChatView, stored_view
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.title_bar import TitleBar

if TYPE_CHECKING:
    from localq.services.chat.session_chat import OnEvent, SessionChat
    from localq.services.hosting.pool import ModelPool
    from localq.sessions import Attachment

__all__ = ["Conversation"]

_TELL_EVERY = 0.25
"""Seconds between two looks at how fast a reply comes."""
_NARROW = 90
"""Cells, below which the meter is numbers alone."""

Result = TypeVar("Result")
Ask = Callable[["SessionChat", threading.Event, "OnEvent"], object]


class Conversation(CallListener, Vertical):
    DEFAULT_CSS = """
    Conversation { height: 1fr; width: 1fr; }
    """

    status: reactive[ChatStatus] = reactive(ChatStatus())
    view: reactive[ChatView | None] = reactive(None, always_update=True)

    class Changed(Message):
        """Its status or what it shows."""

    class Unsent(Message):
        """What was to be said was not, for whatever reason: it need not be typed again."""

        def __init__(self, text: str, attachments: Sequence[Attachment]) -> None:
            super().__init__()
            self.text = text
            self.attachments = attachments

    def __init__(self, context: AppContext, pool: ModelPool | None = None) -> None:
        """`pool` is where others may have the same models; without one it is this one's own."""
        super().__init__()
        self.context = context
        chats = context.services.chat
        self._own_pool = None if pool else chats.pool()
        used = pool or self._own_pool
        assert used is not None
        self.handle = ChatHandle(
            lambda model, session, emit, cancel: chats.talk(model, session, used, emit, cancel),
            context.services.paths.log / "tui.log",
        )
        self.transcript = Transcript()
        self._title = TitleBar()
        self._opening: ServiceCall[ChatView] | None = None
        self._asking: ServiceCall[Outcome] | None = None
        self._reply: GrowingTurn | None = None
        self._said: tuple[str, Sequence[Attachment]] = ("", ())
        self._began_at = 0.0
        self._pieces = 0
        self._untold = 0
        self._told_at = 0.0
        self._label = ""

    def compose(self) -> ComposeResult:
        yield self._title
        yield self.transcript

    def on_unmount(self) -> None:
        for call in (self._opening, self._asking):
            if call is not None:
                call.cancel.set()
        self.context.calls.start_quietly(self._close)

    def _close(self) -> None:
        self.handle.close()
        if self._own_pool is not None:
            self._own_pool.close()

    def watch_status(self, before: ChatStatus, status: ChatStatus) -> None:
        self._draw_title()
        if status.state is not before.state:
            self.post_message(self.Changed())

    def watch_view(self, view: ChatView | None) -> None:
        if view is None:
            return
        tree, left_out = view.tree, view.left_out_id
        self.transcript.show(view.path, lambda message: turn_of(tree, message, left_out))
        if view.n_ctx is not None:
            used = self.status.used if view.used is None else view.used
            self.status = replace(self.status, used=used, n_ctx=view.n_ctx)
        self._draw_title()
        self.post_message(self.Changed())

    def on_resize(self) -> None:
        self._draw_title()

    def _draw_title(self) -> None:
        view = self.view
        model = printable(view.model if view and view.model else self._label).rpartition("/")[2]
        left = Text(model, style="bold")
        if view is not None and view.session is not None and view.session.title:
            left.append(f"  {printable(view.session.title)}", "not bold")
        self._title.left = left
        self._title.right = status_text(self.status, short=self.size.width < _NARROW)

    def _enter(self, state: ChatState) -> None:
        self.status = replace(self.status, state=state)

    # --- to open ---

    def open(self, model: str | None, session_id: int | None = None) -> None:
        """Go on with a session, or begin one with a model, in place of what is open."""
        if self._opening is not None:
            self._opening.cancel.set()
        self._label = model or ""
        self.status = ChatStatus()
        self.view = None
        if session_id is None:
            self.transcript.show((), lambda message: Turn(Kind.OTHER))
            self._draw_title()
        else:
            self._show_stored(session_id)
        handle = self.handle
        opening: list[ServiceCall[ChatView]] = []

        def current(do: Callable[..., None]) -> Callable[..., None]:
            """Nothing of a call that another one has taken the place of."""
            return lambda *news: do(*news) if opening[0] is self._opening else None

        call = self.context.calls.start(
            self,
            lambda say, cancel: handle.open(model, session_id, say, cancel),
            done=current(self._opened),
            failed=current(self._not_opened),
            heard=current(self._heard_opening),
        )
        opening.append(call)
        self._opening = call

    def _show_stored(self, session_id: int) -> None:
        """What was said can be read before the model is there."""
        opened = self.context.services.chat.opened

        def show(view: ChatView) -> None:
            if self.view is None:
                self.view = view
                self.transcript.follow()

        self.context.calls.start(
            self,
            lambda say, cancel: stored_view(*opened(session_id)),
            done=show,
            failed=lambda error: None,  # which the model's loading will tell, too
        )

    def _heard_opening(self, news: CallNews) -> None:
        if isinstance(news, Note) and news.warning:
            self.transcript.remark(news.text)
        elif isinstance(news, Note | Started):
            told = news.text if isinstance(news, Note) else news.title
            self.transcript.introduce(printable(told))

    def _opened(self, view: ChatView) -> None:
        self.view = view
        self._enter(ChatState.IDLE)
        if view.continues_text:
            self.transcript.remark(tr("this model has no chat template: it goes on with the text"))

    def _not_opened(self, error: LocalqError) -> None:
        self.transcript.show_error(error, hint_for(error))
        self._enter(ChatState.FAILED)

    # --- to talk ---

    def send(self, text: str, attachments: Sequence[Attachment] = ()) -> None:
        files = tuple(file_text(one.name, one.tokens) for one in attachments)
        self._begin(Turn(Kind.USER, tr("You"), text, files=files), text, attachments)
        self._ask(
            lambda chat, cancel, on_event: chat.send(
                text, attachments, cancel=cancel, on_event=on_event
            )
        )

    def retry(self) -> None:
        """Another reply beside the last one."""
        self._begin(None, "", ())
        self._ask(lambda chat, cancel, on_event: chat.retry(cancel=cancel, on_event=on_event))

    def edit(self, text: str, message_id: int) -> None:
        """Say something else in place of a message: a new branch."""
        self._begin(Turn(Kind.USER, tr("You"), text), text, ())
        self._ask(
            lambda chat, cancel, on_event: chat.edit(
                text, message_id, cancel=cancel, on_event=on_event
            )
        )

    def stop(self) -> None:
        if self._asking is not None and self.status.state is ChatState.GENERATING:
            self._asking.cancel.set()
            self._enter(ChatState.STOPPING)

    def change(self, work: Callable[[SessionChat], object]) -> None:
        """Something short, after which the conversation is shown anew."""
        handle = self.handle
        if self.status.state is not ChatState.IDLE:
            return

        def done(outcome: Outcome) -> None:
            self.view = outcome.view
            if outcome.error is not None:
                self.transcript.show_error(outcome.error, hint_for(outcome.error))

        self.context.calls.start(
            self, lambda say, cancel: handle.do(work), done=done, failed=self._complain
        )

    def ask(self, work: Callable[[SessionChat], Result], done: Callable[[Result], object]) -> None:
        """Something short that the conversation knows, and that changes nothing."""
        handle = self.handle
        answers: list[Result] = []

        def answered(outcome: Outcome) -> None:
            if answers:
                done(answers[0])
            elif outcome.error is not None:
                self.transcript.show_error(outcome.error, hint_for(outcome.error))

        self.context.calls.start(
            self,
            lambda say, cancel: handle.do(lambda chat: answers.append(work(chat))),
            done=answered,
            failed=self._complain,
        )

    def look(self) -> None:
        """Another program may have said something in the session."""
        view = self.view
        if view is None or view.session is None or self.status.state is not ChatState.IDLE:
            return
        news: list[int] = []
        handle, revision = self.handle, view.session.revision

        def work(chat: SessionChat) -> None:
            news.append(len(chat.refresh()))

        def done(outcome: Outcome) -> None:
            session = outcome.view.session
            if session is None or self.status.is_busy:
                return
            if outcome.error is None and session.revision == revision:
                return
            self.view = outcome.view
            if outcome.error is not None:
                self.transcript.show_error(outcome.error, hint_for(outcome.error))
            elif news and news[0]:
                said = tr("another program has added {count} messages", count=news[0])
                self.transcript.remark(said)

        self.context.calls.start(
            self, lambda say, cancel: handle.do(work), done=done, failed=lambda error: None
        )

    def _begin(self, turn: Turn | None, text: str, attachments: Sequence[Attachment]) -> None:
        """Show what is asked before anybody has answered."""
        assert self.view is not None
        self._said = (text, attachments)
        if turn is not None:
            self.transcript.add(turn)
        self._reply = self.transcript.begin_reply(self.view.model.rpartition("/")[2])
        self._pieces = self._untold = 0
        self.transcript.follow()
        self._enter(ChatState.GENERATING)

    def _ask(self, ask: Ask) -> None:
        handle = self.handle

        def work(say: Say, cancel: threading.Event) -> Outcome:
            def on_event(event: object) -> None:
                match event:
                    case ContentText(text):
                        say(Written(text))
                    case ReasoningText(text):
                        say(Written(text, thought=True))

            return handle.do(lambda chat: ask(chat, cancel, on_event), say)

        self._asking = self.context.calls.start(
            self, work, done=self._answered, failed=self._complain, heard=self._heard
        )

    def _heard(self, news: CallNews) -> None:
        if isinstance(news, Written) and self._reply is not None:
            now = self.context.clock.ticks()
            if not self._pieces:
                self._began_at = now
            self._pieces += news.pieces
            self._reply.grow(news.text, thought=news.thought)
            self.transcript.grown()
            self._untold += news.pieces
            if now - self._told_at < _TELL_EVERY and self._pieces > self._untold:
                return  # a number that nobody can read is not worth a drawing
            passed = now - self._began_at
            self.status = replace(
                self.status,
                rate=self._pieces / passed if passed > 0 else self.status.rate,
                used=self.status.used + self._untold,
            )
            self._told_at, self._untold = now, 0
        elif isinstance(news, Note | Started):
            self.transcript.remark(news.text if isinstance(news, Note) else news.title)

    def _answered(self, outcome: Outcome) -> None:
        before = self.view.path[-1].id if self.view is not None and self.view.path else 0
        self._reply = None
        self.view = outcome.view
        path = outcome.view.path
        rate = path[-1].tokens_per_second if path else None
        self.status = replace(self.status, rate=rate)
        if outcome.error is not None:
            if not isinstance(outcome.error, Cancelled):
                self.transcript.show_error(outcome.error, hint_for(outcome.error))
            if (path[-1].id if path else 0) <= before:
                self._give_back()
        self._enter(ChatState.IDLE)

    def _complain(self, error: LocalqError) -> None:
        """A mistake of localq's own, or the conversation was closed meanwhile."""
        self._reply = None
        if not isinstance(error, Cancelled):
            self.transcript.show_error(error, hint_for(error))
            self._give_back()
        self._enter(ChatState.IDLE)

    def _give_back(self) -> None:
        text, attachments = self._said
        if text or attachments:
            self.post_message(self.Unsent(text, attachments))

    # --- what the transcript is asked for ---

    @on(Transcript.BesideAsked)
    def _beside(self, event: Transcript.BesideAsked) -> None:
        view = self.view
        if view is None or event.message_id not in view.tree:
            return
        parent = view.tree[event.message_id].parent_id
        siblings = view.tree.children(parent if parent in view.tree else None)
        at = siblings.index(event.message_id) + event.step
        if 0 <= at < len(siblings):
            self.change(lambda chat: chat.turn_to(siblings[at]))
