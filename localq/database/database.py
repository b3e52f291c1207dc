"""The database's file: made whole or not at all, opened for one transaction at a time.

Every use opens the file, does one transaction and closes it again: that takes about a
millisecond, works from any thread or process, and leaves nothing open to go stale. The database
is in WAL mode, so those who read never wait for the one who writes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from localq.database.connection import Locked, NoRoom, connected
from localq.database.reserve import Reserve
from localq.database.schema import migrate
from localq.errors import LibraryError, storage_errors
from localq.messages import msg
from localq.partials import finish, partial_path, sweep_partials

__all__ = ["Database"]

_AS_IT_IS = "ro&immutable=1"
_READ_SECONDS = 2.0
_WRITE_SECONDS = 15.0
"""How long to wait for other writers: deleting a large model holds them up for seconds."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database in the file `path`.

    LibraryError names the file where it is damaged, or was made by a newer localq.
    """

    path: Path

    def exists(self) -> bool:
        """Whether anything was ever stored; LibraryError where that cannot be seen."""
        try:
            self.path.stat()  # exists() says no, from Python 3.14 on, where it cannot tell
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise LibraryError(
                msg("{path}: cannot be read: {strerror}", path=self.path, strerror=error.strerror)
            ) from error
        return True

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to read with until the block ends; None, and nothing made, where there is
        no database yet."""
        if not self.exists():
            yield None
            return
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(self._open(self._mode_to_read(), _READ_SECONDS))
            except (NoRoom, Locked):
                if not self._is_settled():
                    raise
                # SQLite's lock files do not fit either, or another program has locked even those
                # out who read; to read what is there takes no lock.
                opened = stack.enter_context(self._open(_AS_IT_IS, _READ_SECONDS))
            yield opened

    @property
    def reserve(self) -> Reserve:
        """Room that work may use which gives the disk more; kept by whoever writes."""
        return Reserve(self.path.with_name(f"{self.path.name}.reserve"))

    @contextmanager
    def write(self, wait: float | None = None) -> Iterator[sqlite3.Connection]:
        """The only writer until the block ends; an error in the block undoes all of it.

        `wait`: seconds for other writers to be done; None: as long as deleting a model takes."""
        if not self.exists():
            self._create()
        else:
            sweep_partials(self.path.parent)  # of a process killed when it had just made one
        with self._open("rw", _WRITE_SECONDS if wait is None else wait) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        self.reserve.keep()

    def _create(self) -> None:
        """Make the database under another name and give it its own when it is whole.

        So nobody ever opens a half-made one, and of two processes that come first together, one
        wins and the other uses the winner's.
        """
        folder = self.path.parent
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        sweep_partials(folder)
        partial = partial_path(self.path)
        try:
            with connected(partial, "rwc", _WRITE_SECONDS) as connection:
                migrate(connection, partial)
            finish(partial, self.path, replace=False)
        except LibraryError:
            if not self.exists():
                raise
        finally:
            partial.unlink(missing_ok=True)

    def _mode_to_read(self) -> str:
        # In a folder that may not be written SQLite cannot keep its lock files, and needs none.
        return "rw" if os.access(self.path.parent, os.W_OK) else _AS_IT_IS

    def _is_settled(self) -> bool:
        """Whether all that was written is in the file itself, and not yet in the log beside it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        try:
            return log.stat().st_size == 0
        except FileNotFoundError:
            return True

    @contextmanager
    def _open(self, mode: str, seconds: float) -> Iterator[sqlite3.Connection]:
        with connected(self.path, mode, seconds) as connection:
            migrate(connection, self.path)
            yield connection
