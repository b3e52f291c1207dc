"""The sessions of one localq home, as the rest of localq sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from localq.database import Database
from localq.errors import LibraryError, NotFoundError, UsageError
from localq.json_codec import to_json
from localq.liveness import LivenessLock, is_held
from localq.messages import msg
from localq.paths import Paths
from localq.sessions.message import MessageState, NewMessage, SessionMessage, copy_of
from localq.sessions.preset import DEFAULT, Preset
from localq.sessions.records import Records, no_such_session
from localq.sessions.search import Found, meant, search
from localq.sessions.session import MAX_TITLE, Session, shown_end, title_of
from localq.sessions.tree import MessageTree
from localq.sessions.words import well_formed

__all__ = ["SessionBusy", "SessionStore"]


class SessionBusy(LibraryError):
    """Another program writes a reply in the session."""


class SessionStore:
    """Any thread or process may use the same home at the same time; each method is one
    transaction. What is read makes nothing on disk."""

    def __init__(self, paths: Paths, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(paths.database)
        self._locks = paths.data / "sessions"
        self._clock = clock

    # -- to read

    def sessions(
        self,
        *,
        archived: bool = False,
        tags: Iterable[str] = (),
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Session]:
        """Pinned ones first, then those used last; `archived`: the ones put away instead. At most
        `limit` of them, without the first `skip`."""
        wanted = [_tag(tag) for tag in tags]
        having = " AND id IN (SELECT session_id FROM session_tags WHERE tag = ?)" * len(wanted)
        query = (
            f"WHERE archived = ? AND message_count > 0{having}"
            " ORDER BY pinned DESC, updated_at DESC LIMIT ? OFFSET ?"
        )
        with self._read() as records:
            if records is None:
                return []
            most = -1 if limit is None else limit
            return records.sessions(query, (archived, *wanted, most, skip))

    def session(self, session_id: int) -> Session:
        """NotFoundError where there is none of this number."""
        with self._read() as records:
            if records is None:
                raise no_such_session(session_id)
            return records.session(session_id)

    def find(self, text: str) -> Session:
        """The session that `text` means: its number, its title, or part of one session's title.

        NotFoundError, or LibraryError where it may mean several.
        """
        with self._read() as records:
            if records is None:
                raise no_such_session(repr(text))
            return meant(records, text)

    def last(self) -> Session:
        """The one used last, archived ones left out; NotFoundError."""
        query = "WHERE NOT archived AND message_count > 0 ORDER BY updated_at DESC LIMIT 1"
        with self._read() as records:
            found = [] if records is None else records.sessions(query)
        if not found:
            raise NotFoundError(msg("there is no session yet"), hint=msg("localq chat begins one"))
        return found[0]

    def messages(self, session_id: int) -> MessageTree[SessionMessage]:
        """All messages of all branches; of a session that is gone, none."""
        with self._read() as records:
            return MessageTree([] if records is None else records.messages(session_id))

    def opened(self, session_id: int) -> tuple[Session, MessageTree[SessionMessage]]:
        """A session and its messages at one moment. NotFoundError."""
        with self._read() as records:
            if records is None:
                raise no_such_session(session_id)
            return records.session(session_id), MessageTree(records.messages(session_id))

    def search(self, text: str, *, limit: int = 50, skip: int = 0) -> list[Found]:
        """At most `limit` sessions with a message that has all the words, the latest first; before
        them those with all of them in the title; without the first `skip`. Words of one or two
        letters must be whole words."""
        with self._read() as records:
            return [] if records is None else search(records, well_formed(text), limit, skip)

    # -- to change

    def create(
        self,
        *,
        title: str = "",
        model: str = "",
        model_hash: str | None = None,
        plan: Mapping[str, object] | None = None,
        preset: Preset = DEFAULT,
        messages: Sequence[tuple[int | None, NewMessage]] = (),
        leaf: int | None = None,
    ) -> Session:
        """A new session. `messages` come with the place among them of the one each answers, which
        comes before it, and `leaf` is the place it goes on after (None: the last)."""
        now = self._clock()
        given = bool(title)
        if not title:
            said = next((new.content for _, new in messages if new.role == "user"), "")
            title = title_of(said)
        with self._write() as records:
            session_id = records.add_session(
                {
                    "title": _checked_title(title) if given else title,
                    "title_given": given,
                    "model": model,
                    "model_hash": model_hash,
                    "plan": json.dumps(plan or {}),
                    "preset": json.dumps(to_json(preset)),
                    "created_at": now,
                    "updated_at": now,
                }
            )
            ids: list[int] = []
            for parent, new in messages:
                parent_id = None if parent is None else ids[parent]
                left_out = None if new.left_out_id is None else ids[new.left_out_id]
                new = replace(new, left_out_id=left_out)
                ids.append(records.add_message(session_id, parent_id, new, now))
            leaf_id = ids[-1 if leaf is None else leaf] if ids else None
            records.touch(session_id, now, leaf_id=leaf_id)
            return records.session(session_id)

    def put_back(self, session: Session, messages: Sequence[SessionMessage]) -> Session:
        """A session that was removed, with its messages, the oldest first, and all times as they
        were. It gets a new number, and so does each message."""
        place = {message.id: index for index, message in enumerate(messages)}
        with self._write() as records:
            session_id = records.add_session(
                {
                    "title": session.title,
                    "title_given": session.title_given,
                    "model": session.model,
                    "model_hash": session.model_hash,
                    "plan": json.dumps(dict(session.plan)),
                    "preset": json.dumps(to_json(session.preset)),
                    "pinned": session.pinned,
                    "archived": session.archived,
                    "created_at": session.created_at,
                    "updated_at": session.updated_at,
                }
            )
            ids: list[int] = []
            for message in messages:
                parent = place.get(message.parent_id) if message.parent_id is not None else None
                new = copy_of(message, place)
                if new.left_out_id is not None:
                    new = replace(new, left_out_id=ids[new.left_out_id])
                parent_id = None if parent is None else ids[parent]
                ids.append(records.add_message(session_id, parent_id, new, message.created_at))
            at = None if session.leaf_id is None else place.get(session.leaf_id)
            records.touch(session_id, None, leaf_id=None if at is None else ids[at])
            records.connection.executemany(
                "INSERT OR IGNORE INTO session_tags (session_id, tag) VALUES (?, ?)",
                [(session_id, tag) for tag in session.tags],
            )
            return records.session(session_id)

    def say(self, session_id: int, parent_id: int | None, *new: NewMessage) -> list[int]:
        """Add messages, each after the one before it; the session goes on after the last. The
        title comes from what the user said first. NotFoundError; UsageError: no such parent."""
        now = self._clock()
        with self._write() as records:
            session = records.session(session_id)
            ids = []
            for message in new:
                parent_id = records.add_message(session_id, parent_id, message, now)
                ids.append(parent_id)
            changes: dict[str, object] = {"leaf_id": parent_id}
            if not session.title_given and not session.title:
                said = next((one.content for one in new if one.role == "user"), "")
                changes["title"] = title_of(said)
            records.touch(session_id, now, **changes)
        return ids

    def grow(self, session_id: int, message_id: int, content: str, reasoning: str = "") -> None:
        """Keep how far a reply is. NotFoundError: it, or its session, was removed meanwhile."""
        with self._write() as records:
            if not records.grow(message_id, content, reasoning):
                raise _reply_gone(session_id)
            records.touch(session_id, None)

    def finish(self, session_id: int, message_id: int, new: NewMessage) -> None:
        """Keep the whole reply; of `new` its role, model and attachments are not looked at."""
        now = self._clock()
        with self._write() as records:
            if not records.finish(message_id, new, now):
                raise _reply_gone(session_id)
            records.touch(session_id, now)

    def take_back(self, session_id: int, ids: Iterable[int], leaf_id: int | None) -> None:
        """Forget messages that came to nothing; the session goes on after `leaf_id`."""
        with self._write() as records:
            records.remove_messages(session_id, ids)
            records.touch(session_id, None, leaf_id=leaf_id)

    def go_to(self, session_id: int, leaf_id: int | None) -> None:
        """Go on after another message; None: from the beginning."""
        with self._write() as records:
            records.touch(session_id, self._clock(), leaf_id=leaf_id)

    def rename(self, session_id: int, title: str) -> Session:
        """UsageError for a title that is none."""
        return self._change(session_id, title=_checked_title(title), title_given=True)

    def set_preset(self, session_id: int, preset: Preset) -> Session:
        return self._change(session_id, preset=json.dumps(to_json(preset)))

    def set_model(
        self, session_id: int, model: str, model_hash: str | None, plan: Mapping[str, object]
    ) -> Session:
        return self._change(
            session_id, model=model, model_hash=model_hash, plan=json.dumps(dict(plan))
        )

    def pin(self, session_id: int, pinned: bool) -> Session:
        return self._change(session_id, pinned=pinned)

    def archive(self, session_id: int, archived: bool) -> Session:
        return self._change(session_id, archived=archived)

    def tag(self, session_id: int, add: Iterable[str], remove: Iterable[str] = ()) -> Session:
        """UsageError for a tag that is none."""
        add, remove = [_tag(tag) for tag in add], [_tag(tag) for tag in remove]
        with self._write() as records:
            records.touch(session_id, None)
            records.connection.executemany(
                "DELETE FROM session_tags WHERE session_id = ? AND tag = ?",
                [(session_id, tag) for tag in remove],
            )
            records.connection.executemany(
                "INSERT OR IGNORE INTO session_tags (session_id, tag) VALUES (?, ?)",
                [(session_id, tag) for tag in add],
            )
            return records.session(session_id)

    def remove(self, session_id: int) -> Session:
        """Forget a session and all its messages; which it was. NotFoundError; SessionBusy."""
        with self.writing(session_id), self._write() as records:
            session = records.session(session_id)
            records.unindex(session_id)
            records.connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            return session

    def fork(self, session_id: int, leaf_id: int | None = None, title: str = "") -> Session:
        """A session of its own with the messages up to `leaf_id` (None: those of the branch that
        is shown). UsageError: there are none."""
        session, tree = self.opened(session_id)
        leaf_id = shown_end(session, tree) if leaf_id is None else leaf_id
        if leaf_id is None:
            raise UsageError(msg("session {id} has no messages", id=session_id))
        if leaf_id not in tree:
            raise UsageError(
                msg("session {session} has no message {id}", session=session_id, id=leaf_id)
            )
        path = tree.path(leaf_id)
        place = {message.id: index for index, message in enumerate(path)}
        copies = [
            (index - 1 if index else None, copy_of(message, place))
            for index, message in enumerate(path)
        ]
        return self.create(
            title=title or _forked(session.title),
            model=session.model,
            model_hash=session.model_hash,
            plan=session.plan,
            preset=session.preset,
            messages=copies,
        )

    # -- who writes

    @contextmanager
    def writing(self, session_id: int) -> Iterator[None]:
        """The only program that replies in the session until the block ends. What a program that
        was killed left is settled first. SessionBusy."""
        lock = LivenessLock(self._lock(session_id))
        if not lock.acquire():
            raise SessionBusy(
                msg("another program is writing a reply in session {id}", id=session_id),
                hint=msg(
                    "wait until it is done, or go on in a copy: localq sessions fork {id}",
                    id=session_id,
                ),
            )
        try:
            self._settle(session_id)
            yield
        finally:
            lock.release()

    def is_busy(self, session_id: int) -> bool:
        """Whether a program writes a reply in the session at this moment."""
        return is_held(self._lock(session_id))

    def _settle(self, session_id: int) -> None:
        with self._read() as records:
            if records is None:
                return
            growing = records.connection.execute(
                "SELECT 1 FROM messages WHERE session_id = ? AND state = ?",
                (session_id, MessageState.GROWING.value),
            ).fetchone()
        if growing:
            with self._write() as records:
                records.interrupt_growing(session_id, self._clock())
                records.touch(session_id, None)

    def _lock(self, session_id: int) -> Path:
        return self._locks / f"{session_id}.lock"

    def _change(self, session_id: int, **columns: object) -> Session:
        with self._write() as records:
            records.touch(session_id, None, **columns)
            return records.session(session_id)

    @contextmanager
    def _read(self) -> Iterator[Records | None]:
        with self._database.read() as connection:
            if connection is None:
                yield None
                return
            connection.execute("BEGIN")
            yield Records(connection)

    @contextmanager
    def _write(self) -> Iterator[Records]:
        with self._database.write() as connection:
            yield Records(connection)


def _reply_gone(session_id: int) -> NotFoundError:
    return NotFoundError(
        msg("the reply was removed from session {id} by another program", id=session_id)
    )


def _checked_title(title: str) -> str:
    title = " ".join(title.split())
    if not title or len(title) > MAX_TITLE or not title.isprintable():
        raise UsageError(
            msg(
                "a title has 1 to {most} characters, and no control characters",
                most=MAX_TITLE,
            )
        )
    return title


def _tag(text: str) -> str:
    tag = text.strip().casefold()
    if not tag or len(tag) > 60 or not tag.isprintable() or any(map(str.isspace, tag)):
        raise UsageError(msg("{tag!r} is not a tag: one word, please", tag=text[:80]))
    return tag


def _forked(title: str) -> str:
    return f"{title[: MAX_TITLE - 4]} (2)" if title else ""
