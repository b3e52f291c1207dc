"""A session as one program sees it: all branches, and the one that it is at."""

from __future__ import annotations

from localq.errors import NotFoundError, UsageError
from localq.messages import msg
from localq.sessions import MessageTree, Session, SessionMessage, SessionStore

__all__ = ["SessionView"]


class SessionView:
    """A session, or one to be, and where in it one is. Other programs may change it: `refresh`
    tells. Not for several threads at once."""

    def __init__(self, store: SessionStore, session: Session | None, title: str = "") -> None:
        self._store = store
        self._title = title
        self._session = session
        self._tree: MessageTree[SessionMessage] = MessageTree([])
        self._leaf: int | None = None
        if session is not None:
            self._reload()
            self._leaf = self._usual_leaf()

    @property
    def session(self) -> Session | None:
        """None: nothing was said yet."""
        return self._session

    @property
    def tree(self) -> MessageTree[SessionMessage]:
        """All branches, as they were when last looked at."""
        return self._tree

    @property
    def path(self) -> tuple[SessionMessage, ...]:
        """The branch that the session goes on with."""
        return self._tree.path(self._leaf)

    def refresh(self) -> tuple[SessionMessage, ...]:
        """What another program has said in this session since, after what was there; the session
        goes on after that. NotFoundError: it was removed."""
        if self._session is None:
            return ()
        session = self._store.session(self._session.id)
        if session.revision == self._session.revision:
            return ()
        known = {message.id for message in self._tree}
        self._reload()
        newest = self._session.leaf_id
        if newest in self._tree and self._leaf in (None, *(m.id for m in self._tree.path(newest))):
            self._leaf = newest
        elif self._leaf not in self._tree:
            self._leaf = self._usual_leaf()
        return tuple(message for message in self.path if message.id not in known)

    def back(self) -> str:
        """Go on before the last thing said, which stays in a branch of its own; what it was."""
        asked = self._last_said()
        self._go_to(asked.parent_id)
        return asked.content

    def turn_to(self, message_id: int) -> None:
        """Go on with the branch below a message, where it was left."""
        self._go_to(self._tree.newest_leaf(self._message(message_id).id))

    def beside(self, step: int) -> bool:
        """Turn to the branch before (-1) or after (+1) this one, in the order in which messages
        that answer the same one were said; whether there is one. Whoever has gone back stands
        behind all that was said there."""
        end = self._tree.end_beside(self._leaf, step)
        if end is None:
            return False
        self._go_to(end)
        return True

    def begin_anew(self) -> None:
        """Leave this session; another begins with what is said next."""
        self._session, self._leaf, self._title = None, None, ""
        self._tree = MessageTree([])

    def rename(self, title: str) -> None:
        """UsageError for a title that is none."""
        if self._session is None:
            self._title = title
        else:
            self._session = self._store.rename(self._session.id, title)

    def _go_to(self, leaf_id: int | None) -> None:
        self._leaf = leaf_id
        if self._session is not None:
            self._store.go_to(self._session.id, leaf_id)
            self._reload()

    def _reload(self) -> None:
        assert self._session is not None
        self._session, self._tree = self._store.opened(self._session.id)

    def _usual_leaf(self) -> int | None:
        assert self._session is not None
        leaf = self._session.leaf_id
        return leaf if leaf in self._tree or leaf is None else self._tree.newest_leaf()

    def _last_said(self) -> SessionMessage:
        """By the user."""
        for message in reversed(self.path):
            if message.role == "user":
                return message
        if len(self._tree):
            raise UsageError(msg("nothing was said before this: the session is at its beginning"))
        raise UsageError(msg("nothing was said yet"))

    def _message(self, message_id: int) -> SessionMessage:
        if message_id not in self._tree:
            raise NotFoundError(msg("there is no message {id}", id=message_id))
        return self._tree[message_id]
