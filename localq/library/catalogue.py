"""The catalogue: one SQLite file that says which models there are and which files are theirs.

Every call opens the file, does one transaction and closes it again: that takes about a
millisecond, works from any thread or process, and leaves nothing open to go stale. The database
is in WAL mode, so those who read never wait for the one who writes. Paths are kept relative to
the models folder; a library may be moved as a whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localq.errors import LibraryError, StorageError, storage_errors
from localq.library.database import connected
from localq.library.model import Model
from localq.library.partials import finish, partial_path, sweep_partials
from localq.library.schema import migrate
from localq.library.transaction import Transaction

__all__ = ["Catalogue"]

_READ_SECONDS = 2.0
_WRITE_SECONDS = 15.0
"""How long to wait for other writers: deleting a large model holds them up for seconds."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The catalogue in the file `database`, about models under the folder `root`.

    LibraryError names the file where it is damaged, or was made by a newer localq.
    """

    database: Path
    root: Path

    def models(self) -> list[Model]:
        """All entries, by name; none, and nothing made on disk, where there is no catalogue."""
        if not self._exists():
            return []
        try:
            with self._open("rw", _READ_SECONDS) as connection:
                return Transaction(connection, self.database, self.root).models()
        except StorageError:
            if os.access(self.database.parent, os.W_OK):
                raise
        # In a folder that may not be written SQLite cannot keep its lock files, and needs none.
        with self._open("ro&immutable=1", _READ_SECONDS) as connection:
            return Transaction(connection, self.database, self.root).models()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """The only writer until the block ends; an error in the block undoes all of it."""
        if not self._exists():
            self._create()
        with self._open("rw", _WRITE_SECONDS) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Transaction(connection, self.database, self.root)
            connection.execute("COMMIT")

    def _exists(self) -> bool:
        try:
            self.database.stat()  # exists() says no, from Python 3.14 on, where it cannot tell
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise LibraryError(f"{self.database}: cannot be read: {error.strerror}") from error
        return True

    def _create(self) -> None:
        """Make the database under another name and give it its own when it is whole.

        So nobody ever opens a half-made one, and of two processes that come first together, one
        wins and the other uses the winner's.
        """
        folder = self.database.parent
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        sweep_partials(folder)
        partial = partial_path(self.database)
        try:
            with connected(partial, "rwc", _WRITE_SECONDS) as connection:
                migrate(connection, partial)
            finish(partial, self.database, replace=False)
        except LibraryError:
            if not self._exists():
                raise
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _open(self, mode: str, seconds: float) -> Iterator[sqlite3.Connection]:
        with connected(self.database, mode, seconds) as connection:
            migrate(connection, self.database)
            yield connection
