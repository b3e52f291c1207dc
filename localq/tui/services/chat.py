"""Sessions and the models that answer in them, for the chat screens."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import NotFoundError
from localq.events import Emit

if TYPE_CHECKING:
    from localq.library import Library
    from localq.services.chat.session_chat import SessionChat
    from localq.services.hosting.pool import ModelPool
    from localq.sessions import (
        Attachment,
        MessageTree,
        Preset,
        Session,
        SessionMessage,
        SessionStore,
    )
    from localq.sessions.removed import RemovedSession

__all__ = ["ChatServices", "SessionRow"]

_LISTED = 200
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")


@dataclass(frozen=True, slots=True)
class SessionRow:
    session: Session
    found: str = ""
    """A line around the words that were sought; "" where they are in the title."""


class ChatServices:
    def __init__(self, library: Library) -> None:
        self._library = library
        self.draft = ""
        """What was typed in a chat that was left, and not sent."""

    def pool(self) -> ModelPool:
        """What holds the models of one screen, to be closed with it."""
        from localq.services.hosting.pool import ModelPool

        return ModelPool(self._library, owner="app")

    def talk(
        self,
        model: str | None,
        session_id: int | None,
        pool: ModelPool,
        emit: Emit,
        cancel: threading.Event,
    ) -> SessionChat:
        """Load a model and go on with a session, or begin one; None: the session's model."""
        from localq.services.chat.session_chat import SessionChat

        session = None if session_id is None else self._store.session(session_id)
        return SessionChat.open(
            self._library, model, session=session, pool=pool, emit=emit, cancel=cancel
        )

    # --- sessions ---

    def sessions(self, text: str = "", *, archived: bool = False) -> list[SessionRow]:
        """Those used last, or those that have the words of `text`, archived ones too."""
        if text.strip():
            return [
                SessionRow(one.session, one.snippet if one.message_id is not None else "")
                for one in self._store.search(text, limit=_LISTED)
            ]
        found = self._store.sessions(archived=archived, limit=_LISTED)
        return [SessionRow(session) for session in found]

    def last(self) -> Session | None:
        """The one used last."""
        try:
            return self._store.last()
        except NotFoundError:
            return None

    def opened(self, session_id: int) -> tuple[Session, MessageTree[SessionMessage]]:
        return self._store.opened(session_id)

    def rename(self, session_id: int, title: str) -> Session:
        return self._store.rename(session_id, title)

    def pin(self, session_id: int, pinned: bool) -> Session:
        return self._store.pin(session_id, pinned)

    def archive(self, session_id: int, archived: bool) -> Session:
        return self._store.archive(session_id, archived)

    def remove(self, session_id: int) -> RemovedSession:
        """What `restore` takes back."""
        from localq.sessions.removed import remove

        return remove(self._store, session_id)

    def restore(self, removed: RemovedSession) -> Session:
        from localq.sessions.removed import restore

        return restore(self._store, removed)

    def export(self, session_id: int, path: str) -> Path:
        """Write a session to the file, in the format that its name says."""
        from localq.services.chat.session_files import export_session

        return export_session(self._store, session_id, _expanded(path))

    # --- what goes with a message, and how it is answered ---

    def attachment(self, path: str) -> Attachment:
        from localq.sessions.attachments import read_attachment
        from localq.sessions.picture_attachments import read_picture_attachment

        file = _expanded(path)
        if file.suffix.lower() in _PICTURES:
            return read_picture_attachment(file)
        return read_attachment(file)

    def presets(self) -> Sequence[Preset]:
        from localq.sessions.preset_files import PresetFiles

        return PresetFiles(self._library.paths).all()[0]

    def keep_preset(self, preset: Preset) -> None:
        """For other sessions too."""
        from localq.services.chat.presets import checked_preset
        from localq.sessions.preset_files import PresetFiles

        PresetFiles(self._library.paths).put(checked_preset(preset))

    @property
    def _store(self) -> SessionStore:
        from localq.sessions import SessionStore

        return SessionStore(self._library.paths)


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path.strip()))  # noqa: PTH111 - Path refuses "~nobody"
