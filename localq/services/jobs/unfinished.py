"""Files that a job left half-made under a name of their own, to go on with."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

__all__ = ["drop_unfinished"]


def drop_unfinished(target: Path) -> int:
    """Delete the files that were to become `target`, one of its parts or its projector, and their
    journals.

    The bytes freed.
    """
    name = re.compile(
        rf"\.{re.escape(target.stem)}(-\d{{5}}-of-\d{{5}}|-mmproj-F16)?{re.escape(target.suffix)}"
        r"\.[0-9a-f]{16}\.resumable(\.journal)?"
    )
    freed = 0
    with suppress(FileNotFoundError):
        for path in list(target.parent.iterdir()):
            if name.fullmatch(path.name):
                freed += path.lstat().st_size
                path.unlink()
    return freed
