"""Which adapter a text means: a file, or one of the library."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from localq.errors import LibraryError, NotFoundError
from localq.formats.adapter import Adapter
from localq.library import Library, ModelFormat
from localq.library.names import find
from localq.messages import msg

__all__ = ["locate_adapter"]


def locate_adapter(text: str) -> Adapter:
    """The adapter of FILE[:SCALE] or NAME[:SCALE]. NotFoundError; LibraryError for a name that may
    mean several; UsageError for a scale that makes no sense."""
    whole = _file(text)
    if whole is not None:
        return Adapter(whole)
    left, colon, right = text.rpartition(":")
    try:
        scale = float(right) if colon and left else None
    except ValueError:
        scale = None
    if scale is not None and (path := _file(left)) is not None:
        return Adapter(path, scale)
    named = {text: 1.0} if scale is None else {text: 1.0, left: scale}
    with Library() as library:
        models = library.models()
        adapters = [model for model in models if model.format is ModelFormat.ADAPTER]
        for name, chosen in named.items():
            try:
                found = find(adapters, name)
            except NotFoundError:
                continue
            if not found.path.is_file():
                raise NotFoundError(
                    msg("{name}: its file is gone: {path}", name=found.name, path=found.path)
                )
            return Adapter(found.path, chosen)
        with suppress(NotFoundError):
            raise LibraryError(
                msg("{name} is a model, not an adapter", name=find(models, text).name),
                hint=msg("--lora takes a GGUF adapter, by file or by name"),
            )
    raise NotFoundError(
        msg("{text}: no such adapter, neither a file nor in the library", text=text),
        hint=msg("--lora FILE.gguf[:SCALE] or NAME[:SCALE], the scale being a number such as 0.5"),
    )


def _file(text: str) -> Path | None:
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    return path if "\0" not in text and path.is_file() else None
