"""What the chat screen is doing, and how that reads in its title bar."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from localq.messages import msg, translate
from localq.tui.text import tr

__all__ = ["ChatState", "ChatStatus", "status_text"]


class ChatState(StrEnum):
    LOADING = "loading"
    IDLE = "idle"
    GENERATING = "generating"
    STOPPING = "stopping"
    FAILED = "failed"
    """The model could not be loaded; there is nothing to do but go back."""


_NAMES = {
    ChatState.LOADING: msg("loading"),
    ChatState.IDLE: msg("ready"),
    ChatState.GENERATING: msg("writing"),
    ChatState.STOPPING: msg("stopping"),
    ChatState.FAILED: msg("failed"),
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
    parts = [translate(_NAMES[status.state])]
    if status.rate is not None:
        parts.append(tr("{rate:.1f} tok/s", rate=status.rate))
    if status.n_ctx is not None:
        parts.append(tr("{used:,} / {n_ctx:,} tokens", used=status.used, n_ctx=status.n_ctx))
    return Text(" · ".join(parts))
