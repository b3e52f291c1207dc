"""Text from standard input, which must be UTF-8 and not without end."""

from __future__ import annotations

import sys

from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["stdin_line", "stdin_text"]

_MOST_BYTES = 10_000_000
"""As many as a text that is sent along may have."""


def stdin_text() -> str:
    """All of it, with its line breaks as they are. BadFileError."""
    return _decoded(sys.stdin.buffer.read(_MOST_BYTES + 1), msg("stdin"))


def stdin_line(number: int) -> str | None:
    """The next line, which is the `number`th, without its end; None: no more comes.
    BadFileError."""
    line = sys.stdin.buffer.readline(_MOST_BYTES + 1)
    if not line:
        return None
    text = _decoded(line, msg("stdin, line {number}", number=number))
    return text.removesuffix("\n").removesuffix("\r")


def _decoded(data: bytes, name: str) -> str:
    if len(data) > _MOST_BYTES:
        raise BadFileError(name, msg("longer than the 10 MB that can be sent"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(
            name, msg("no text: only UTF-8 can be sent"), offset=error.start
        ) from None
