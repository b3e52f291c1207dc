"""Conversations, for the chat screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from localq.events import Emit

if TYPE_CHECKING:
    from localq.engine.client import Generation, LoadedModel
    from localq.library import Library
    from localq.services.chat.conversation import Conversation

__all__ = ["Chat", "ChatServices"]


class Chat(Protocol):
    """What the chat screen needs of a conversation."""

    @property
    def loaded(self) -> LoadedModel: ...

    def reply(
        self, text: str, *, cancel: threading.Event, on_text: Callable[[str], None]
    ) -> Generation: ...

    def close(self) -> None: ...


class ChatServices:
    def __init__(self, library: Library) -> None:
        self._library = library

    def open(self, name: str, emit: Emit, cancel: threading.Event) -> Chat:
        """Load the model with this name."""
        from localq.services.chat.conversation import Conversation

        return _Sampled(
            Conversation.open(self._library, name, emit=emit, cancel=cancel, owner="app")
        )


class _Sampled:
    """A conversation whose replies are sampled as the model's makers recommend."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @property
    def loaded(self) -> LoadedModel:
        return self._conversation.loaded

    def reply(
        self, text: str, *, cancel: threading.Event, on_text: Callable[[str], None]
    ) -> Generation:
        sampling = self._conversation.sampling()
        return self._conversation.reply(text, sampling, cancel=cancel, on_text=on_text)

    def close(self) -> None:
        self._conversation.close()
