"""What the chat screen is doing, and how that reads in its title bar."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from localq.tui import strings

__all__ = ["ChatState", "ChatStatus", "status_text"]


class ChatState(StrEnum):
    LOADING = "loading"
    IDLE = "idle"
    GENERATING = "generating"
    STOPPING = "stopping"
    FAILED = "failed"
    """The model could not be loaded; there is nothing to do but go back."""


_NAMES = {
    ChatState.LOADING: strings.CHAT_STATE_LOADING,
    ChatState.IDLE: strings.CHAT_STATE_IDLE,
    ChatState.GENERATING: strings.CHAT_STATE_GENERATING,
    ChatState.STOPPING: strings.CHAT_STATE_STOPPING,
    ChatState.FAILED: strings.CHAT_STATE_FAILED,
}


@dataclass(frozen=True, slots=True)
class ChatStatus:
    state: ChatState = ChatState.LOADING
    rate: float | None = None
    """Tokens per second of the reply shown last."""
    used: int = 0
    """Tokens of the context that are taken."""
    n_ctx: int | None = None


def status_text(status: ChatStatus) -> Text:
    """ "writing · 23.1 tok/s · 412 / 4,096 tokens"."""
    parts = [_NAMES[status.state]]
    if status.rate is not None:
        parts.append(strings.CHAT_SPEED.format(status.rate))
    if status.n_ctx is not None:
        parts.append(strings.CHAT_USED.format(status.used, status.n_ctx))
    return Text(" · ".join(parts))
