"""What a conversation is at one moment: made in the thread that talks, read in the app's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localq.errors import LocalqError
from localq.sessions import MessageTree, Preset, Session, SessionMessage
from localq.sessions.message import left_out_after

if TYPE_CHECKING:
    from localq.services.chat.session_chat import SessionChat

__all__ = ["ChatView", "stored_view", "view_of"]


@dataclass(frozen=True, slots=True)
class ChatView:
    session: Session | None
    """None: nothing was said yet."""
    tree: MessageTree[SessionMessage]
    path: tuple[SessionMessage, ...]
    """The branch that the session is at."""
    preset: Preset
    model: str
    n_ctx: int | None = None
    used: int | None = None
    """Tokens of the context that are taken, where that is known."""
    continues_text: bool = False

    @property
    def left_out_id(self) -> int | None:
        """The last message that the model no longer reads."""
        return left_out_after(self.path)


def view_of(chat: SessionChat) -> ChatView:
    used = None
    with suppress(LocalqError):  # a template's mistake is told when something is said
        used = chat.meter().used
    return ChatView(
        chat.session,
        chat.tree,
        chat.path,
        chat.preset,
        chat.model_name,
        chat.chat.loaded.n_ctx,
        used,
        chat.chat.continues_text,
    )


def stored_view(session: Session, tree: MessageTree[SessionMessage]) -> ChatView:
    """Of a session that can be read before its model is loaded."""
    leaf = session.leaf_id
    path = tree.path(leaf if leaf in tree or leaf is None else tree.newest_leaf())
    return ChatView(session, tree, path, session.preset, session.model)
