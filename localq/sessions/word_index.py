"""The index of words in messages, and how to do without it.

SQLite's FTS5 is a part that some builds leave out. Without it conversations are kept all the same,
and a search looks through the messages. Which of them an index lacks then stands in the table
`unindexed`, and the first change by a program that has FTS5 makes up for it. What is removed
meanwhile stays in the index; that does no harm, for a message's number is never given twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from localq.database.full_text import has_full_text
from localq.database.migrations.m6_sessions import WORDS
from localq.sessions.words import indexed, query, sought_words

__all__ = ["add", "latest_with", "take_out"]

_LOOKED_AT = 5000
_LOOKED_AT_PER_SESSION = 200
"""So many of the latest messages with the words are looked at for the sessions they are in: as many
as a search of a common word may take time for."""


def add(connection: sqlite3.Connection, message_id: int, content: str) -> None:
    if not _make_up(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS unindexed (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT OR IGNORE INTO unindexed VALUES (?)", (message_id,))
        return
    _insert(connection, [(message_id, content)])


def take_out(connection: sqlite3.Connection, messages: Iterable[tuple[int, str]]) -> None:
    """Before the messages are removed."""
    if _make_up(connection):
        connection.executemany(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
            ((id_, indexed(content)) for id_, content in messages),
        )


def latest_with(
    connection: sqlite3.Connection, text: str, sessions: int
) -> Iterator[tuple[int, int]]:
    """The latest messages that have every word of `text`, and their sessions, the latest first;
    enough for so many `sessions` unless these are longer than most."""
    if not query(text):
        return iter(())
    most = max(_LOOKED_AT, _LOOKED_AT_PER_SESSION * sessions)
    if has_full_text(connection) and _tables(connection) == {"words"}:
        return connection.execute(
            "SELECT words.rowid, session_id FROM words JOIN messages ON id = words.rowid"
            " WHERE words MATCH ? ORDER BY words.rowid DESC LIMIT ?",
            (query(text), most),
        )
    sought = sought_words(text)
    has = " AND ".join("instr(lower(content), ?)" for _ in sought)
    return connection.execute(
        f"SELECT id, session_id FROM messages WHERE state <> 'growing' AND {has}"
        " ORDER BY id DESC LIMIT ?",
        (*sought, most),
    )


def _make_up(connection: sqlite3.Connection) -> bool:
    """Whether there is an index, which then has all that it should have."""
    if not has_full_text(connection):
        return False
    tables = _tables(connection)
    if "words" not in tables:
        connection.execute(WORDS)
    if "unindexed" in tables:
        rows = connection.execute(
            "SELECT id, content FROM messages WHERE id IN (SELECT id FROM unindexed)"
            " AND state <> 'growing'"
        )
        _insert(connection, rows.fetchall())
        connection.execute("DROP TABLE unindexed")
    return True


def _insert(connection: sqlite3.Connection, messages: Iterable[tuple[int, str]]) -> None:
    connection.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)",
        ((id_, indexed(content)) for id_, content in messages),
    )


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('words', 'unindexed')"
    )
    return {name for (name,) in rows}
