"""Sessions that are removed, and may come back while whoever removed them remembers them."""

from __future__ import annotations

from dataclasses import dataclass

from localq.sessions.message import SessionMessage
from localq.sessions.session import Session
from localq.sessions.store import SessionStore
from localq.sessions.tree import MessageTree

__all__ = ["RemovedSession", "remove", "restore"]


@dataclass(frozen=True, slots=True)
class RemovedSession:
    session: Session
    tree: MessageTree[SessionMessage]


def remove(store: SessionStore, session_id: int) -> RemovedSession:
    """Forget a session; NotFoundError, SessionBusy."""
    session, tree = store.opened(session_id)
    store.remove(session_id)
    return RemovedSession(session, tree)


def restore(store: SessionStore, removed: RemovedSession) -> Session:
    """The session as it was, under another number."""
    return store.put_back(removed.session, list(removed.tree))
