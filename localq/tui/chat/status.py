"""What a conversation is doing, and how that reads in its title bar."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from localq.messages import msg, translate
from localq.tui.text import tr

__all__ = ["ChatState", "ChatStatus", "status_text"]

_METER = 10
_NEARLY_FULL = 0.85


class ChatState(StrEnum):
    LOADING = "loading"
    IDLE = "idle"
    GENERATING = "generating"
    STOPPING = "stopping"
    FAILED = "failed"
    """The model could not be loaded; what was said can be read."""


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

    @property
    def is_busy(self) -> bool:
        return self.state in (ChatState.GENERATING, ChatState.STOPPING)


def status_text(status: ChatStatus, *, short: bool = False) -> Text:
    """ "writing · 23.1 tok/s · ▰▱▱▱▱▱▱▱▱▱ 412 / 4,096 tokens"."""
    text = Text(translate(_NAMES[status.state]))
    if status.rate is not None:
        text.append(" · " + tr("{rate:.1f} tok/s", rate=status.rate))
    if status.n_ctx is None:
        return text
    share = min(status.used / status.n_ctx, 1.0)
    full = round(share * _METER)
    text.append(" · ")
    if not short:
        text.append("▰" * full + "▱" * (_METER - full) + " ")
    told = tr("{used:,} / {n_ctx:,} tokens", used=status.used, n_ctx=status.n_ctx)
    text.append(told, "bold" if share >= _NEARLY_FULL else "")
    return text
