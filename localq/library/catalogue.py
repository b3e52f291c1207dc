"""The catalogue: which models there are and which files are theirs.

Paths are kept relative to the models folder; a library may be moved as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localq.database import Database
from localq.library.model import Model
from localq.library.transaction import Transaction

__all__ = ["Catalogue"]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The part of `database` that is about models under the folder `root`."""

    database: Database
    root: Path

    def models(self) -> list[Model]:
        """All entries, by name; none, and nothing made on disk, where there is no catalogue."""
        with self.read() as transaction:
            return transaction.models() if transaction else []

    @contextmanager
    def read(self) -> Iterator[Transaction | None]:
        """One state to read until the block ends, or None where there is no catalogue yet."""
        with self.database.read() as connection:
            if connection is None:
                yield None
                return
            connection.execute("BEGIN")
            yield Transaction(connection, self.database.path, self.root)

    @contextmanager
    def write(self, wait: float | None = None) -> Iterator[Transaction]:
        """The only writer until the block ends; an error in the block undoes all of it. `wait`:
        seconds for other writers, as of `Database.write`."""
        with self.database.write(wait) as connection:
            yield Transaction(connection, self.database.path, self.root)
