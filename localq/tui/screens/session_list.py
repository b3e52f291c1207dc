"""The sessions that are kept: to find, open, name, pin, put away, remove and export."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localq.display import age, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.screens.text_dialog import TextDialog
from localq.tui.text import tr

if TYPE_CHECKING:
    from localq.sessions import Session
    from localq.sessions.removed import RemovedSession
    from localq.tui.services.chat import SessionRow

__all__ = ["SessionList", "title_of"]

_DEBOUNCE = 0.15


def title_of(session: Session) -> str:
    return printable(session.title) or tr("(untitled)")


class _Rows(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", msg("Open"), key_display="↵"),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    def action_cursor_up(self) -> None:
        if not self.highlighted:
            self.screen.query_one("#session-search").focus()
        else:
            super().action_cursor_up()


class _Search(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "to_list", show=False),
    ]

    def action_to_list(self) -> None:
        self.screen.query_one(_Rows).focus()


class SessionList(CallListener, Vertical):
    DEFAULT_CSS = """
    SessionList {
        width: 34;
        height: 1fr;
        border: round $border-blurred;
        border-title-color: $text-muted;
        background: $surface;
        &:focus-within { border: round $border; border-title-color: $primary; }
        Input, Input:focus {
            border: none;
            height: 1;
            padding: 0 1;
            margin-bottom: 1;
            background: $panel;
            background-tint: transparent;
        }
        OptionList, OptionList:focus {
            height: 1fr;
            border: none;
            padding: 0;
            background: $surface;
            background-tint: transparent;
            scrollbar-size-vertical: 1;
            text-wrap: nowrap;
            text-overflow: ellipsis;
        }
        #no-sessions { height: auto; padding: 0 1; color: $text-muted; display: none; }
        &.-empty #no-sessions { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", msg("Search"), show=False, key_display="/"),
        Binding("n", "new", msg("New"), show=False),
        Binding("r", "rename", msg("Rename")),
        Binding("p", "pin", msg("Pin"), tooltip=msg("Keep it at the top, or no longer")),
        Binding("a", "archive", msg("Put away"), tooltip=msg("Put it away, or take it out")),
        Binding("d,delete", "remove", msg("Remove")),
        Binding("u", "undo", msg("Bring back"), show=False, tooltip=msg("Undo the removal")),
        Binding("e", "export", msg("Export")),
        Binding("h", "archived", msg("Those put away"), show=False),
    ]

    class Chosen(Message):
        def __init__(self, session_id: int) -> None:
            super().__init__()
            self.session_id = session_id

    class NewAsked(Message):
        pass

    class Renamed(Message):
        def __init__(self, session: Session) -> None:
            super().__init__()
            self.session = session

    class Removed(Message):
        def __init__(self, session_id: int) -> None:
            super().__init__()
            self.session_id = session_id

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.open_id: int | None = None
        """The session that is shown beside."""
        self._listed: list[SessionRow] = []
        self._archived = False
        self._removed: list[RemovedSession] = []
        self._asked = 0
        self._pause: Timer | None = None
        self._search = _Search(placeholder=tr("Search"), id="session-search")
        self._none = Static(id="no-sessions", markup=False)
        self._options = _Rows(markup=False)

    def compose(self) -> ComposeResult:
        yield self._search
        yield self._none
        yield self._options

    def on_mount(self) -> None:
        self.refresh_list()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("rename", "pin", "archive", "remove", "export"):
            return bool(self._listed) and not self._search.has_focus
        return True

    @property
    def rows(self) -> list[SessionRow]:
        return self._listed

    def focus_list(self) -> None:
        self._options.focus()

    # --- the list ---

    def refresh_list(self) -> None:
        """Read it anew."""
        self._asked += 1
        asked = self._asked
        text, archived = self._search.value, self._archived
        sessions = self.context.services.chat.sessions

        def show(rows: list[SessionRow]) -> None:
            if asked == self._asked:
                self._show(rows)

        self.context.calls.start(
            self,
            lambda say, cancel: sessions(text, archived=archived),
            done=show,
            failed=self._complain,
        )

    def _show(self, rows: list[SessionRow]) -> None:
        options = self._options
        here = self._current_id
        self.border_title = tr("Put away") if self._archived else tr("Sessions")
        if rows != self._listed or options.option_count != len(rows):
            self._listed = rows
            options.clear_options()
            options.add_options([self._option(row) for row in rows])
        wanted = here if here is not None else self.open_id
        ids = [row.session.id for row in rows]
        if rows:
            options.highlighted = ids.index(wanted) if wanted in ids else 0
        self.set_class(not rows, "-empty")
        told = tr("no session has that") if self._search.value else tr("none yet")
        self._none.update(told)
        self.refresh_bindings()

    def _option(self, row: SessionRow) -> Option:
        session = row.session
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("▸ " if session.id == self.open_id else "  ")
        if session.pinned:
            text.append("★ ")
        text.append(title_of(session), "bold" if session.id == self.open_id else "")
        told = row.found or " · ".join(
            part
            for part in (
                age(session.updated_at, self.context.clock.now()),
                printable(session.model).rpartition("/")[2],
            )
            if part
        )
        text.append(f"\n    {printable(told)}", "dim")
        return Option(text, id=str(session.id))

    @property
    def _current_id(self) -> int | None:
        at = self._options.highlighted
        return self._listed[at].session.id if at is not None and at < len(self._listed) else None

    @property
    def _current(self) -> Session | None:
        at = self._options.highlighted
        return self._listed[at].session if at is not None and at < len(self._listed) else None

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(_DEBOUNCE, self.refresh_list)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_list()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._listed[event.option_index].session.id))

    def show_open(self, session_id: int | None) -> None:
        """Mark the session that is shown beside."""
        if session_id != self.open_id:
            self.open_id = session_id
            self._listed = []
        self.refresh_list()

    # --- what is done with them ---

    def action_search(self) -> None:
        self._search.focus()

    def action_new(self) -> None:
        self.post_message(self.NewAsked())

    def action_archived(self) -> None:
        self._archived = not self._archived
        self.refresh_list()

    def action_rename(self) -> None:
        if (session := self._current) is None:
            return
        rename = self.context.services.chat.rename
        done: list[Session] = []
        dialog = TextDialog(
            self.context,
            tr("Rename"),
            tr("The session's title"),
            lambda text: done.append(rename(session.id, text)),
            value=session.title,
        )

        def renamed(kept: bool | None) -> None:
            if kept:
                self.refresh_list()
                self.post_message(self.Renamed(done[-1]))

        self.app.push_screen(dialog, renamed)

    def action_pin(self) -> None:
        if session := self._current:
            pin = self.context.services.chat.pin
            self._do(lambda: pin(session.id, not session.pinned))

    def action_archive(self) -> None:
        if session := self._current:
            archive = self.context.services.chat.archive
            put_away = not session.archived
            told = tr("put away: h shows those") if put_away else tr("taken out again")
            self._do(lambda: archive(session.id, put_away), lambda _: self._say(told))

    def action_remove(self) -> None:
        if (session := self._current) is None:
            return
        remove = self.context.services.chat.remove

        def removed(one: RemovedSession) -> None:
            self._removed.append(one)
            told = tr("{title} was removed; u brings it back.", title=title_of(session))
            self._say(told)
            self.post_message(self.Removed(session.id))

        self._do(lambda: remove(session.id), removed)

    def action_undo(self) -> None:
        if not self._removed:
            self._say(tr("nothing was removed"))
            return
        removed = self._removed.pop()
        restore = self.context.services.chat.restore
        self._do(lambda: restore(removed))

    def action_export(self) -> None:
        if (session := self._current) is None:
            return
        export = self.context.services.chat.export
        written: list[Path] = []
        name = re.sub(r"[^\w.-]+", "-", session.title).strip("-.")[:60] or f"session-{session.id}"
        dialog = TextDialog(
            self.context,
            tr("Export"),
            tr("A file of Markdown (.md), JSON (.json) or a page (.html), by its name"),
            lambda text: written.append(export(session.id, text)),
            value=f"~/{name}.md",
        )

        def done(kept: bool | None) -> None:
            if kept:
                self._say(tr("written: {path}", path=printable(written[-1])))

        self.app.push_screen(dialog, done)

    def _do(self, work: Callable[[], Any], done: Callable[[Any], object] | None = None) -> None:
        def after(result: Any) -> None:
            self.refresh_list()
            if done is not None:
                done(result)

        self.context.calls.start(
            self, lambda say, cancel: work(), done=after, failed=self._complain
        )

    def _say(self, text: str) -> None:
        self.app.notify(text, markup=False)

    def _complain(self, error: LocalqError) -> None:
        told = printable(error.message)
        self.app.notify(told, severity="error", markup=False)
