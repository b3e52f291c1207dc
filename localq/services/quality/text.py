"""Texts for models to read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from localq.display import byte_size
from localq.errors import NotFoundError, StorageError, UsageError
from localq.messages import msg
from localq.quality.results import EvaluatedText

__all__ = ["ReadText", "read_text"]

_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text and what it is known by. The last line break is left out, as llama.cpp's tools do:
    so the last token is the same."""

    text: str
    known_as: EvaluatedText


def read_text(path: Path) -> ReadText:
    """The text in a file. NotFoundError, UsageError for one that is too long, StorageError."""
    try:
        if not path.is_file():
            raise NotFoundError(msg("{path}: no such text file", path=path))
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(
                msg(
                    "{path}: {st_size:,} bytes of text are more than needed",
                    path=path,
                    st_size=path.stat().st_size,
                ),
                hint=msg(
                    "a part of at most {max_text_bytes} will do",
                    max_text_bytes=byte_size(_MAX_BYTES),
                ),
            )
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(
            msg("{path}: cannot be read: {strerror}", path=path, strerror=error.strerror or error)
        ) from error
    known_as = EvaluatedText(path.name, hashlib.sha256(data).hexdigest(), len(data))
    return ReadText(data.decode("utf-8", "replace").removesuffix("\n"), known_as)
