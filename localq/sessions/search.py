"""Finding sessions: by what their user calls them, and by words in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localq.errors import LibraryError
from localq.messages import msg
from localq.sessions import words
from localq.sessions.records import Records, no_such_session
from localq.sessions.session import Session

__all__ = ["NEWEST_FIRST", "Found", "meant", "search"]

NEWEST_FIRST = "ORDER BY updated_at DESC"
_LOOKED_AT = 500
"""So many of the latest messages with the words are looked at for the sessions they are in."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session that a search found, and where."""

    session: Session
    message_id: int | None
    """The latest message with all the words; None: they are in the title."""
    snippet: str


def meant(sessions: Sequence[Session], text: str) -> Session:
    """As `SessionStore.find`, among these."""
    folded = text.strip().casefold()
    for chosen in (
        [one for one in sessions if str(one.id) == folded],
        [one for one in sessions if one.title.casefold() == folded],
        [one for one in sessions if folded and folded in one.title.casefold()],
    ):
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            some = ", ".join(f"{one.id} ({one.title})" for one in chosen[:3])
            raise LibraryError(
                msg("{text!r} may mean several sessions: {some}", text=text, some=some),
                hint=msg("name it by its number"),
            )
    raise no_such_session(repr(text))


def search(records: Records, text: str, limit: int) -> list[Found]:
    """As `SessionStore.search`, within a transaction."""
    folded = text.casefold().split()
    if not folded:
        return []
    in_title = " AND ".join("instr(lower(title), ?)" for _ in folded)
    entitled = records.sessions(f"WHERE {in_title} {NEWEST_FIRST} LIMIT ?", (*folded, limit))
    latest = _latest(records, words.query(text))
    seen = {one.id for one in entitled}
    others = [id_ for id_ in latest if id_ not in seen][: limit - len(entitled)]
    marks = ", ".join("?" * len(others))
    by_id = {one.id: one for one in records.sessions(f"WHERE id IN ({marks})", others)}
    found = [Found(one, None, one.title) for one in entitled]
    for id_ in others:
        message_id, content = latest[id_]
        found.append(Found(by_id[id_], message_id, words.snippet(content, text)))
    return found


def _latest(records: Records, query: str) -> dict[int, tuple[int, str]]:
    """Of each session with such messages, the latest first, the latest one and its text."""
    latest: dict[int, tuple[int, str]] = {}
    if query:
        rows = records.connection.execute(
            "SELECT id, session_id, content FROM messages WHERE id IN"
            " (SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?)"
            " ORDER BY id DESC",
            (query, _LOOKED_AT),
        )
        for message_id, session_id, content in rows:
            latest.setdefault(session_id, (message_id, content))
    return latest
