"""Conversations with a model, and the sessions they are kept in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static

from localq.display import age, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.chat.conversation import Conversation
from localq.tui.chat.hints import hint_for
from localq.tui.chat.status import ChatState, ChatStatus
from localq.tui.chat.transcript import Transcript
from localq.tui.chat.turn import file_text
from localq.tui.context import AppContext
from localq.tui.screens.session_list import SessionList, title_of
from localq.tui.text import tr
from localq.tui.watch import HomeNews
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.prompt import Prompt
from localq.tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.sessions import Attachment, Preset, Session

__all__ = ["ChatScreen"]


class ChatScreen(CallListener, Screen[None]):
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_reply", msg("Stop")),
        Binding("escape", "leave_edit", msg("Do not edit")),
        Binding("escape", "to_prompt", msg("Write")),
        Binding("escape", "back", msg("Back")),
        Binding("ctrl+l", "sessions", msg("Sessions"), key_display="^l"),
        Binding("ctrl+n", "new", msg("New"), key_display="^n", tooltip=msg("Another session")),
        Binding("ctrl+r", "retry", msg("Again"), key_display="^r", tooltip=msg("Another reply")),
        Binding(
            "ctrl+o", "attach", msg("File"), key_display="^o", tooltip=msg("Send a file along")
        ),
        Binding(
            "ctrl+g",
            "settings",
            msg("How it answers"),
            key_display="^g",
            tooltip=msg("Preset, system prompt, sampling, what to do when the context is full"),
        ),
        Binding(
            "ctrl+t",
            "compare",
            msg("Two models"),
            show=False,
            key_display="^t",
            tooltip=msg("Ask another model the same, side by side"),
        ),
        Binding("ctrl+left", "beside(-1)", msg("Alternative before"), show=False, priority=True),
        Binding("ctrl+right", "beside(1)", msg("Next alternative"), show=False, priority=True),
        Binding(
            "tab",
            "transcript",
            msg("Messages"),
            show=False,
            tooltip=msg("Walk through the messages: copy, edit, alternatives"),
        ),
    ]

    def __init__(
        self, context: AppContext, model: Model | None, session_id: int | None = None
    ) -> None:
        """With a model, in a session of its own; else in the session, or the one used last."""
        super().__init__()
        self.context = context
        self._model = model
        self._session_id = session_id
        self._carried: list[Attachment] = []
        self._editing: int | None = None
        self._offered: Session | None = None
        self._chats = context.services.chat
        self._prompt = Prompt()
        self.conversation = Conversation(context)
        self._sessions = SessionList(context)

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield self._sessions
            yield self.conversation
        yield Static(id="carried", markup=False)
        yield self._prompt
        yield StatusLine()
        yield KeyBar()

    @property
    def transcript(self) -> Transcript:
        return self.conversation.transcript

    @property
    def status(self) -> ChatStatus:
        return self.conversation.status

    def on_mount(self) -> None:
        self.watch(self.conversation, "status", self._accept)
        self._prompt.put_back(self._chats.draft)
        self._chats.draft = ""
        if self._model is not None:
            self._open(self._model.name, None)
            last = self._chats.last
            self.context.calls.start(
                self, lambda say, cancel: last(), done=self._offer, failed=lambda error: None
            )
        elif self._session_id is not None:
            self._open(None, self._session_id)
        else:
            last = self._chats.last
            self.context.calls.start(
                self, lambda say, cancel: last(), done=self._go_on, failed=self._complain
            )

    def on_unmount(self) -> None:
        self._chats.draft = self._prompt.text

    def home_changed(self, news: HomeNews) -> None:
        """Another program may have changed a session."""
        if news.changed and self.is_running and not self.status.is_busy:
            self.conversation.look()
            self._sessions.refresh_list()

    # --- what is open ---

    def _open(self, model: str | None, session_id: int | None) -> None:
        self._editing = None
        self.conversation.open(model, session_id)
        self._sessions.show_open(session_id)
        if session_id is None and model is not None:
            label = printable(model).rpartition("/")[2]
            self._introduce(tr("Loading {model} into memory…", model=label))
        self._draw_carried()

    def _introduce(self, text: str) -> None:
        self.transcript.introduce(text)

    def _offer(self, last: Session | None) -> None:
        """The session used last, for who wants to go on with it."""
        self._offered = last
        self._greet()

    def _greet(self) -> None:
        view = self.conversation.view
        if view is None or view.path or self.status.state is not ChatState.IDLE:
            return
        text = tr("Say something.")
        if (last := self._offered) is not None:
            when = age(last.updated_at, self.context.clock.now())
            text += "\n" + tr(
                "^l goes on with “{title}” ({when}).", title=title_of(last), when=when
            )
        self._introduce(text)

    def _go_on(self, last: Session | None) -> None:
        if last is None:
            self._introduce(tr("There is no session yet: choose a model in the library."))
        else:
            self._open(None, last.id)

    def _accept(self, status: ChatStatus) -> None:
        """At once: a key may follow."""
        self._prompt.accepting = status.state is ChatState.IDLE

    @on(Conversation.Changed)
    def _changed(self) -> None:
        self._greet()
        self.refresh_bindings()
        view = self.conversation.view
        here = view.session.id if view is not None and view.session is not None else None
        sessions = self._sessions
        if here is not None and here != sessions.open_id:
            sessions.show_open(here)

    @on(SessionList.Chosen)
    def _choose(self, event: SessionList.Chosen) -> None:
        if self._refuses():
            return
        self.remove_class("-sessions")
        if event.session_id != self._open_id:
            self._open(None, event.session_id)
        self._prompt.focus()

    @on(SessionList.NewAsked)
    def action_new(self) -> None:
        view = self.conversation.view
        model = view.model if view is not None else self._model.name if self._model else None
        if model is None or self._refuses():
            return
        self.remove_class("-sessions")
        self._open(model, None)
        self._prompt.focus()

    @on(SessionList.Renamed)
    def _renamed(self, event: SessionList.Renamed) -> None:
        if event.session.id == self._open_id:
            self.conversation.look()

    @on(SessionList.Removed)
    def _removed(self, event: SessionList.Removed) -> None:
        if event.session_id == self._open_id:
            self.action_new()

    @property
    def _open_id(self) -> int | None:
        view = self.conversation.view
        return view.session.id if view is not None and view.session is not None else None

    def _refuses(self) -> bool:
        """Whether a reply is in the way, which is said then."""
        if self.status.is_busy:
            self.notify(tr("A reply is being written; esc stops it."), markup=False)
        return self.status.is_busy

    # --- to talk ---

    @on(Prompt.Refused)
    def _refuse(self) -> None:
        if self.status.state is ChatState.LOADING:
            told = tr("The model is still being loaded; your text stays here until then.")
            self.notify(told, markup=False)
        elif self.status.state is ChatState.FAILED:
            self.notify(tr("No model is loaded; your text stays here."), markup=False)

    @on(Prompt.Submitted)
    def _send(self, message: Prompt.Submitted) -> None:
        editing, self._editing = self._editing, None
        carried, self._carried = self._carried, []
        self._draw_carried()
        if editing is not None:
            self.conversation.edit(message.text, editing)
        else:
            self.conversation.send(message.text, carried)

    @on(Conversation.Unsent)
    def _put_back(self, event: Conversation.Unsent) -> None:
        self._prompt.put_back(event.text)
        self._carried = [*event.attachments, *self._carried]
        self._draw_carried()

    def action_retry(self) -> None:
        view = self.conversation.view
        if self.status.state is ChatState.IDLE and view is not None and view.path:
            self.conversation.retry()

    def action_beside(self, step: int) -> None:
        """The alternative of the last message that has any."""
        self.conversation.change(lambda chat: chat.beside(step))

    @on(Prompt.Recalled)
    def _recall(self) -> None:
        view = self.conversation.view
        said = [m for m in view.path if m.role == "user"] if view is not None else []
        if said:
            self._edit(said[-1].id)

    @on(Transcript.EditAsked)
    def _edit_asked(self, event: Transcript.EditAsked) -> None:
        self._edit(event.message_id)

    def _edit(self, message_id: int) -> None:
        view = self.conversation.view
        if view is None or message_id not in view.tree or self._refuses():
            return
        self._editing = message_id
        prompt = self._prompt
        prompt.text = view.tree[message_id].content
        prompt.move_cursor(prompt.document.end)
        prompt.focus()
        self._draw_carried()

    def action_leave_edit(self) -> None:
        self._editing = None
        self._prompt.clear()
        self._draw_carried()

    @on(Transcript.Copied)
    def _copied(self, event: Transcript.Copied) -> None:
        if not event.text:
            self.notify(tr("there is no code in it"), markup=False)
            return
        self.app.copy_to_clipboard(event.text)
        self.notify(tr("code copied") if event.code else tr("message copied"), markup=False)

    # --- what goes with a message, and how it is answered ---

    def action_attach(self) -> None:
        from localq.tui.screens.attach import AttachDialog

        found: list[Attachment] = []
        self.app.push_screen(
            AttachDialog(self.context, found.append), lambda kept: self._count(found)
        )

    def _count(self, found: Sequence[Attachment]) -> None:
        if not found:
            return
        if self.status.state is not ChatState.IDLE:  # counted when there is a model
            self._carry(found)
            return
        self.conversation.ask(lambda chat: chat.attach(found), self._carry)

    def _carry(self, found: Sequence[Attachment]) -> None:
        self._carried.extend(found)
        self._draw_carried()

    @on(Prompt.TakenBack)
    def _take_back(self) -> None:
        if self._carried:
            self._carried.pop()
            self._draw_carried()

    def _draw_carried(self) -> None:
        """What the next enter does besides sending the text."""
        text = Text()
        if self._editing is not None:
            text.append("✎ " + tr("↵ says this in place of what was said; esc does not"))
        for one in self._carried:
            text.append(("\n" if text else "") + f"▤ {file_text(one.name, one.tokens)}")
        if self._carried:
            n_ctx = self.status.n_ctx
            tokens = [one.tokens for one in self._carried if one.tokens is not None]
            if n_ctx and tokens:
                share = sum(tokens) / n_ctx
                text.append("  " + tr("{share:.0%} of the context", share=share))
            text.append("  " + tr("⌫ leaves it out"), "dim")
        carried = self.query_one("#carried", Static)
        carried.update(text)
        carried.set_class(bool(text), "-shown")
        self.refresh_bindings()

    def action_settings(self) -> None:
        from localq.tui.screens.chat_settings import ChatSettingsDialog

        view = self.conversation.view
        if view is None or self.status.state is not ChatState.IDLE:
            self._refuses()
            return
        self.app.push_screen(ChatSettingsDialog(self.context, view.preset), self._use)

    def _use(self, preset: Preset | None) -> None:
        if preset is not None:
            self.conversation.change(lambda chat: chat.set_preset(preset))

    def action_compare(self) -> None:
        view = self.conversation.view
        if view is None or not view.model or self._refuses():
            return
        from localq.tui.screens.compare import CompareScreen, ModelDialog

        first = view.model

        def chosen(second: str | None) -> None:
            if second is not None:
                self.app.push_screen(CompareScreen(self.context, first, second))

        self.app.push_screen(ModelDialog(self.context, first), chosen)

    # --- keys ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        writes = self.status.state is ChatState.GENERATING
        away = not self._prompt.has_focus
        match action:
            case "stop_reply":
                return writes
            case "leave_edit":
                return not writes and self._editing is not None
            case "to_prompt":
                return not writes and self._editing is None and away
            case "back":
                return not writes and self._editing is None and not away
        return True

    def action_sessions(self) -> None:
        """Show the list and go there, or hide it."""
        sessions = self._sessions
        if sessions.display and sessions.has_focus_within:
            self.remove_class("-sessions")
            self.add_class("-no-sessions")
            self._prompt.focus()
            return
        self.remove_class("-no-sessions")
        self.add_class("-sessions")
        sessions.refresh_list()
        self.call_after_refresh(sessions.focus_list)

    def action_transcript(self) -> None:
        self.transcript.focus()

    def action_to_prompt(self) -> None:
        self.remove_class("-sessions")
        self._prompt.focus()

    def action_stop_reply(self) -> None:
        self.conversation.stop()

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll(self, direction: int) -> None:
        self.transcript.page(direction)

    def _complain(self, error: LocalqError) -> None:
        self.transcript.show_error(error, hint_for(error))
