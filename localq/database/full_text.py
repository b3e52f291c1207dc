"""Whether this SQLite can search texts."""

from __future__ import annotations

import sqlite3

__all__ = ["has_full_text"]


def has_full_text(connection: sqlite3.Connection) -> bool:
    """FTS5 is a part of SQLite that some builds leave out."""
    row = connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    return row is not None
