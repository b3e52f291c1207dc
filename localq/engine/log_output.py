"""The engine's log, which is its process's stderr.

It often lies on the disk that has just run full: that must end nothing.
"""

from __future__ import annotations

import sys
from contextlib import suppress

__all__ = ["write_log"]


def write_log(text: str) -> None:
    """Add to the log, where that can be written."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
