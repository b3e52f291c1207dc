"""Finding sessions: by what their user calls them, and by words in them."""

from __future__ import annotations

from dataclasses import dataclass

from localq.errors import LibraryError
from localq.messages import msg
from localq.sessions import words
from localq.sessions.records import Records, no_such_session
from localq.sessions.session import Session
from localq.sessions.word_index import latest_with

__all__ = ["NEWEST_FIRST", "Found", "meant", "search"]

NEWEST_FIRST = "ORDER BY updated_at DESC"


@dataclass(frozen=True, slots=True)
class Found:
    """A session that a search found, and where."""

    session: Session
    message_id: int | None
    """The latest message with all the words; None: they are in the title."""
    snippet: str


def meant(records: Records, text: str) -> Session:
    """As `SessionStore.find`, within a transaction."""
    folded = text.strip().casefold()
    if folded.isdecimal() and (numbered := records.sessions("WHERE id = ?", (folded,))):
        return numbered[0]
    rows = records.connection.execute(f"SELECT id, title FROM sessions {NEWEST_FIRST}")
    named = [(id_, title) for id_, title in rows if folded and folded in title.casefold()]
    for chosen in ([row for row in named if row[1].casefold() == folded], named):
        if len(chosen) == 1:
            return records.session(chosen[0][0])
        if chosen:
            some = ", ".join(f"{id_} ({title})" for id_, title in chosen[:3])
            raise LibraryError(
                msg("{text!r} may mean several sessions: {some}", text=text, some=some),
                hint=msg("name it by its number"),
            )
    raise no_such_session(repr(text))


def search(records: Records, text: str, limit: int, skip: int = 0) -> list[Found]:
    """As `SessionStore.search`, within a transaction."""
    folded = text.casefold().split()
    if not folded:
        return []
    in_title = " AND ".join("instr(lower(title), ?)" for _ in folded)
    most = skip + limit
    entitled = records.sessions(f"WHERE {in_title} {NEWEST_FIRST} LIMIT ?", (*folded, most))
    seen = {one.id for one in entitled}
    latest = _latest(records, text, most - len(entitled), seen)
    others = list(latest)[max(0, skip - len(entitled)) :]
    entitled = entitled[skip:]
    marks = ", ".join("?" * len(others))
    by_id = {one.id: one for one in records.sessions(f"WHERE id IN ({marks})", others)}
    found = [Found(one, None, one.title) for one in entitled]
    for id_ in others:
        message_id = latest[id_]
        row = records.connection.execute("SELECT content FROM messages WHERE id = ?", (message_id,))
        (content,) = row.fetchone()
        found.append(Found(by_id[id_], message_id, words.snippet(content, text)))
    return found


def _latest(records: Records, text: str, limit: int, seen: set[int]) -> dict[int, int]:
    """So many sessions with such messages, but those `seen`, the latest first, and the latest
    message of each."""
    latest: dict[int, int] = {}
    if limit > 0:
        for message_id, session_id in latest_with(records.connection, text, limit):
            if session_id not in seen:
                latest.setdefault(session_id, message_id)
                if len(latest) == limit:
                    break
    return latest
