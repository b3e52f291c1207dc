"""The one conversation of a chat screen: opened, used and closed in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from localq.errors import Cancelled
from localq.events import Emit, JobEvent, ignore
from localq.tui.services.chat import Chat

if TYPE_CHECKING:
    from localq.engine.client import Generation, LoadedModel

__all__ = ["ChatHandle"]


class ChatHandle:
    """Safe to close at any moment: a conversation that is still being opened is closed as soon as
    it is open, one that is replying after its reply has ended."""

    def __init__(self, open_chat: Callable[[Emit, threading.Event], Chat]) -> None:
        self._open_chat = open_chat
        self._emit: Emit = ignore
        self._in_use = threading.Lock()
        self._guard = threading.Lock()
        self._chat: Chat | None = None
        self._closed = False

    def open(self, emit: Emit, cancel: threading.Event) -> LoadedModel:
        """Cancelled: told to stop, or closed in the meantime."""
        self._emit = emit
        chat = self._open_chat(self._pass_on, cancel)
        with self._guard:
            if not self._closed:
                self._chat = chat
                return chat.loaded
        chat.close()
        raise Cancelled

    def reply(
        self,
        text: str,
        *,
        emit: Emit,
        cancel: threading.Event,
        on_text: Callable[[str], None],
    ) -> Generation:
        """Cancelled: the conversation was closed."""
        with self._in_use:
            with self._guard:
                chat = self._chat
            if chat is None:
                raise Cancelled
            self._emit = emit
            return chat.reply(text, cancel=cancel, on_text=on_text)

    def close(self) -> None:
        with self._guard:
            self._closed = True
            chat, self._chat = self._chat, None
        if chat is not None:
            with self._in_use:
                chat.close()

    def _pass_on(self, event: JobEvent) -> None:
        """A conversation keeps its first emit; its events belong to whichever job runs now."""
        self._emit(event)
