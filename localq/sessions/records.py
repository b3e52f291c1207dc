"""Sessions and messages as rows of the database, within one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from localq.database.rows import insert
from localq.errors import NotFoundError, UsageError
from localq.json_codec import to_json
from localq.messages import msg
from localq.sessions import word_index
from localq.sessions.message import (
    ROLES,
    Attachment,
    MessageState,
    NewMessage,
    SessionMessage,
    ToolCall,
)
from localq.sessions.preset import DEFAULT, Preset, preset_of
from localq.sessions.session import Session

__all__ = ["Records", "no_such_session"]

_SESSION = (
    "id, title, title_given, model, model_hash, plan, preset, pinned, archived, created_at,"
    " updated_at, leaf_id, message_count, revision"
)
_COUNTS = (
    *("prompt_tokens", "reused_tokens", "generated_tokens", "prompt_seconds"),
    *("generate_seconds", "stop", "left_out_id"),
)
_MESSAGE = (
    "id, parent_id, role, content, reasoning, tool_calls, tool_call_id, state, model, created_at,"
    f" ended_at, {', '.join(_COUNTS)}"
)


@dataclass(frozen=True, slots=True)
class Records:
    """The rows behind `connection`; whoever made it has begun the transaction."""

    connection: sqlite3.Connection

    def sessions(self, where: str = "", values: Iterable[object] = ()) -> list[Session]:
        """Those that the rest of a SELECT chooses."""
        rows = self.connection.execute(
            f"SELECT {_SESSION} FROM sessions {where}", tuple(values)
        ).fetchall()
        tags = self._tags([row[0] for row in rows])
        presets: dict[str, Preset] = {}  # many sessions have the same
        return [_session(row, tags.get(row[0], ()), presets) for row in rows]

    def session(self, session_id: int) -> Session:
        """NotFoundError where there is none."""
        found = self.sessions("WHERE id = ?", (session_id,))
        if not found:
            raise no_such_session(session_id)
        return found[0]

    def messages(self, session_id: int) -> list[SessionMessage]:
        """Of all branches, the oldest first."""
        rows = self.connection.execute(
            f"SELECT {_MESSAGE} FROM messages WHERE session_id = ? ORDER BY id", (session_id,)
        )
        attached: dict[int, list[Attachment]] = {}
        for message_id, name, content, tokens, media in self.connection.execute(
            "SELECT message_id, name, attachments.content, tokens, media FROM attachments"
            " JOIN messages ON messages.id = message_id WHERE session_id = ?"
            " ORDER BY message_id, position",
            (session_id,),
        ):
            attached.setdefault(message_id, []).append(Attachment(name, content, tokens, media))
        return [_message(row, tuple(attached.get(row[0], ()))) for row in rows]

    def add_session(self, row: Mapping[str, object]) -> int:
        number = insert(self.connection, "sessions", row)
        assert number is not None
        return number

    def add_message(
        self, session_id: int, parent_id: int | None, new: NewMessage, now: float
    ) -> int:
        """Enter a message below another. UsageError where that is not in the session."""
        if parent_id is not None:
            row = self.connection.execute(
                "SELECT 1 FROM messages WHERE session_id = ? AND id = ?", (session_id, parent_id)
            )
            if row.fetchone() is None:
                raise UsageError(
                    msg("session {session} has no message {id}", session=session_id, id=parent_id)
                )
        message_id = insert(
            self.connection,
            "messages",
            {
                "session_id": session_id,
                "parent_id": parent_id,
                "role": new.role,
                "content": new.content,
                "reasoning": new.reasoning,
                "tool_calls": _calls_text(new.tool_calls),
                "tool_call_id": new.tool_call_id,
                "state": new.state.value,
                "model": new.model,
                "created_at": now,
                "ended_at": None if new.state is MessageState.GROWING else now,
                **{name: getattr(new, name) for name in _COUNTS},
            },
        )
        assert message_id is not None
        for position, attachment in enumerate(new.attachments):
            fields = {"message_id": message_id, "position": position}
            insert(self.connection, "attachments", {**fields, **to_json(attachment)})
        if new.state is not MessageState.GROWING:
            word_index.add(self.connection, message_id, new.content)
        return message_id

    def grow(self, message_id: int, content: str, reasoning: str) -> bool:
        """What a reply has become; whether it is still there."""
        done = self.connection.execute(
            "UPDATE messages SET content = ?, reasoning = ? WHERE id = ? AND state = 'growing'",
            (content, reasoning, message_id),
        )
        return done.rowcount == 1

    def finish(self, message_id: int, new: NewMessage, now: float) -> bool:
        """The reply as it is from now on; whether it was still there."""
        row: dict[str, object] = {
            "content": new.content,
            "reasoning": new.reasoning,
            "tool_calls": _calls_text(new.tool_calls),
            "state": new.state.value,
            "ended_at": now,
            **{name: getattr(new, name) for name in _COUNTS},
        }
        changes = ", ".join(f"{column} = :{column}" for column in row)
        done = self.connection.execute(
            f"UPDATE messages SET {changes} WHERE id = :id AND state = 'growing'",
            {**row, "id": message_id},
        )
        if done.rowcount == 1:
            word_index.add(self.connection, message_id, new.content)
        return done.rowcount == 1

    def interrupt_growing(self, session_id: int, now: float) -> int:
        """Messages whose writers are gone stay as far as they got; how many there were."""
        rows = self.connection.execute(
            "SELECT id, content FROM messages WHERE session_id = ? AND state = 'growing'",
            (session_id,),
        ).fetchall()
        for message_id, content in rows:
            self.connection.execute(
                "UPDATE messages SET state = 'interrupted', ended_at = ? WHERE id = ?",
                (now, message_id),
            )
            word_index.add(self.connection, message_id, content)
        return len(rows)

    def remove_messages(self, session_id: int, ids: Iterable[int]) -> None:
        """With what follows them."""
        for message_id in sorted(ids, reverse=True):
            self.unindex(session_id, message_id)
            self.connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))

    def unindex(self, session_id: int, message_id: int | None = None) -> None:
        """Take a message, or all of a session, out of the index of words."""
        rows = self.connection.execute(
            "SELECT id, content FROM messages WHERE session_id = ? AND state <> 'growing'"
            " AND (id = ? OR ? IS NULL)",
            (session_id, message_id, message_id),
        ).fetchall()
        word_index.take_out(self.connection, rows)

    def touch(self, session_id: int, now: float | None, **changes: object) -> None:
        """Change columns of a session, and say so to whoever has it open; `now` None: it was not
        used. NotFoundError where it is gone."""
        columns = {**changes, **({} if now is None else {"updated_at": now})}
        text = "".join(f", {column} = :{column}" for column in columns)
        done = self.connection.execute(
            f"UPDATE sessions SET revision = revision + 1, message_count ="
            f" (SELECT count(*) FROM messages WHERE session_id = :id){text} WHERE id = :id",
            {**columns, "id": session_id},
        )
        if done.rowcount == 0:
            raise no_such_session(session_id)

    def _tags(self, ids: list[int]) -> dict[int, tuple[str, ...]]:
        # One of a few is asked for by its number, all of many are read at once.
        some = f" WHERE session_id IN ({', '.join('?' * len(ids))})" if len(ids) < 100 else ""
        rows = self.connection.execute(
            f"SELECT session_id, tag FROM session_tags{some} ORDER BY tag", ids if some else ()
        )
        found: dict[int, tuple[str, ...]] = {}
        for session_id, tag in rows:
            found[session_id] = (*found.get(session_id, ()), tag)
        return found


def no_such_session(name: object) -> NotFoundError:
    return NotFoundError(
        msg("there is no session {name}", name=name),
        hint=msg("localq sessions list shows them"),
    )


def _session(row: tuple[Any, ...], tags: tuple[str, ...], presets: dict[str, Preset]) -> Session:
    id_, title, given, model, model_hash, plan, preset, pinned, archived, *rest = row
    if preset not in presets:
        presets[preset] = _preset(preset)
    return Session(
        id_,
        title,
        bool(given),
        model,
        model_hash,
        _object(plan),
        presets[preset],
        bool(pinned),
        bool(archived),
        tags,
        *rest,
    )


def _message(row: tuple[Any, ...], attachments: tuple[Attachment, ...]) -> SessionMessage:
    id_, parent_id, role, content, reasoning, calls, call_id, state, *rest = row
    if role not in ROLES:
        role = "system"  # of a later localq
    return SessionMessage(
        id_,
        parent_id,
        role,
        content,
        reasoning,
        _calls(calls),
        call_id,
        attachments,
        MessageState(state) if state in set(MessageState) else MessageState.WHOLE,
        *rest,
    )


def _preset(text: str) -> Preset:
    document = _object(text)
    with suppress(UsageError):
        return preset_of(str(document.get("name", DEFAULT.name)), document)
    return DEFAULT


def _object(text: str) -> dict[str, Any]:
    if text == "{}":  # most plans
        return {}
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}


def _calls(text: str) -> tuple[ToolCall, ...]:
    if text == "[]":
        return ()
    try:
        return tuple(ToolCall(**{k: str(v) for k, v in call.items()}) for call in json.loads(text))
    except (ValueError, TypeError, AttributeError):
        return ()


def _calls_text(calls: Iterable[ToolCall]) -> str:
    return json.dumps(to_json(tuple(calls)), ensure_ascii=False)
