"""What a header is read from."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Readable"]


class Readable(Protocol):
    """Bytes that are read from the first one on: an open file, or one that is elsewhere."""

    def read(self, count: int, /) -> bytes:
        """The next `count` bytes; fewer only at the end."""
