"""Models as requests name them, so that the name holds in any folder at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localq.errors import NotFoundError
from localq.library import Library, Model
from localq.library.names import looks_like_path

__all__ = ["full_name", "short_name"]


def full_name(
    library: Library, model: str | None, find: Callable[[str | None], Model]
) -> str | None:
    """The name in full, of the model used last where there is none, or the absolute path."""
    if model and (looks_like_path(model) or Path(model).exists()):
        return str(Path(model).expanduser().absolute())
    try:
        return find(model).name
    except NotFoundError:
        if model is None and (last := library.last_used()):
            return last.name
        return model


def short_name(model: str | None) -> str:
    """The name, or of a path the last part."""
    return Path(model).name if model and looks_like_path(model) else str(model)
