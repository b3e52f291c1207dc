"""Whether a file that need not be there is there."""

from __future__ import annotations

from pathlib import Path

from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["is_there"]


def is_there(path: Path) -> bool:
    """True for a file, False where nothing bears the name.

    Raises BadFileError for anything else: a folder, a pipe, which would be waited for, or a link
    that leads nowhere, as in a download that was deleted in part.
    """
    if path.is_file():
        return True
    if path.is_symlink() and not path.exists():
        raise BadFileError(path, msg("is a link to a file that is gone"))
    if path.exists():
        raise BadFileError(path, msg("is not a file"))
    return False
