"""Rows as mappings of columns, whose names are localq's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

__all__ = ["insert"]


def insert(
    connection: sqlite3.Connection, table: str, row: Mapping[str, object], *, replace: bool = False
) -> int | None:
    """Add a row, with `replace` in place of the one with the same key; its number if it has one."""
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    marks = ", ".join(f":{column}" for column in row)
    text = f"{verb} INTO {table} ({', '.join(row)}) VALUES ({marks})"
    return connection.execute(text, dict(row)).lastrowid
