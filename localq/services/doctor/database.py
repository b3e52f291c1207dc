"""Whether the database's own file is sound."""

from __future__ import annotations

from collections.abc import Iterator

from localq.database import Database
from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem

__all__ = ["damage"]


def damage(context: CheckContext) -> Iterator[Problem]:
    """What SQLite itself finds wrong, and rows that refer to nothing."""
    path = context.library.paths.database
    with Database(path).read() as connection:
        if connection is None:
            return
        problems = [str(text) for (text,) in connection.execute("PRAGMA quick_check(5)")]
        dangling = connection.execute("PRAGMA foreign_key_check").fetchmany(5)
    for problem in problems:
        if problem != "ok":
            yield Problem(
                msg("{path}: is damaged: {problem}", path=path, problem=problem),
                msg(
                    "move this file away, then run localq doctor --repair: it finds the models"
                    " again"
                ),
            )
    for table, _, parent, _ in dangling:
        yield Problem(
            msg(
                "{path}: {table} has a row that refers to nothing in {parent}",
                path=path,
                table=table,
                parent=parent,
            ),
            msg("move this file away, then run localq doctor --repair: it finds the models again"),
        )
