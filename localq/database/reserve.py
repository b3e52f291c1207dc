"""A little of the disk set aside, so that a full one can still be given room.

Forgetting a model takes a few pages of the database's log before it gives gigabytes back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reserve"]

_BYTES = 512 << 10
_SCARCE = 2 << 30
"""A disk that has so much free needs no reserve yet."""
_NONE_LEFT = 8 * _BYTES
"""A disk that has less free is not asked for one any more."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """The file `path`, which takes room and means nothing."""

    path: Path

    def keep(self) -> None:
        """Set it aside when the disk begins to be full."""
        import shutil

        with suppress(OSError):
            free = shutil.disk_usage(self.path.parent).free
            if _NONE_LEFT <= free < _SCARCE and not self.path.exists():
                self._write()

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Let the block use the room, for work that gives the disk more."""
        had = False
        with suppress(OSError):
            self.path.unlink()
            had = True
        try:
            yield
        finally:
            if had:
                self._write()

    def _write(self) -> None:
        try:
            # Of chance, for some file systems store zeros in no room.
            self.path.write_bytes(os.urandom(_BYTES))
        except OSError:
            with suppress(OSError):
                self.path.unlink()
