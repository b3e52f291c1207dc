"""The conversation of a chat screen: opened, used and closed in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import Cancelled, LocalqError
from localq.events import Emit, JobEvent, ignore
from localq.tui.chat.view import ChatView, view_of
from localq.tui.failure import presentable

if TYPE_CHECKING:
    from localq.services.chat.session_chat import SessionChat

__all__ = ["ChatHandle", "Outcome"]

Open = Callable[[str | None, int | None, Emit, threading.Event], "SessionChat"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of something that was asked of a conversation."""

    view: ChatView
    error: LocalqError | None = None


class ChatHandle:
    """One conversation after another. Safe to close at any moment: one that is still being opened
    is closed as soon as it is open, one that is replying after its reply has ended."""

    def __init__(self, open_chat: Open, log: Path) -> None:
        """`log` is where mistakes of localq's own go."""
        self._log = log
        self._open_chat = open_chat
        self._emit: Emit = ignore
        self._in_use = threading.Lock()
        self._guard = threading.Lock()
        self._chat: SessionChat | None = None
        self._closed = False

    def open(
        self, model: str | None, session_id: int | None, emit: Emit, cancel: threading.Event
    ) -> ChatView:
        """In place of the one before, which keeps its model until this one has its own, for they
        may be the same. Cancelled: told to stop, or closed in the meantime."""
        with self._in_use:
            with self._guard:
                before, self._chat = self._chat, None
            self._emit = emit
            try:
                if cancel.is_set():
                    raise Cancelled
                chat = self._open_chat(model, session_id, self._pass_on, cancel)
            finally:
                if before is not None:
                    before.close()
            try:
                view = view_of(chat)
                with self._guard:
                    if self._closed:
                        raise Cancelled
                    self._chat = chat
            except BaseException:
                chat.close()
                raise
            return view

    def do(self, work: Callable[[SessionChat], object], emit: Emit = ignore) -> Outcome:
        """Ask something of the conversation; an error comes with what it is now. Cancelled: it was
        closed."""
        with self._in_use:
            with self._guard:
                chat = self._chat
            if chat is None:
                raise Cancelled
            self._emit = emit
            try:
                work(chat)
            except Exception as error:  # what there is of a reply is shown, whatever happened
                return Outcome(view_of(chat), presentable(error, self._log))
            return Outcome(view_of(chat))

    def close(self) -> None:
        with self._guard:
            self._closed = True
            chat, self._chat = self._chat, None
        if chat is not None:
            with self._in_use, suppress(LocalqError):
                chat.close()

    def _pass_on(self, event: JobEvent) -> None:
        """A conversation keeps its first emit; its events belong to whichever call runs now."""
        self._emit(event)
