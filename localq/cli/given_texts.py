"""Texts for a verb: arguments, the lines of a file, or those of stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from localq.errors import BadFileError, NotFoundError, UsageError
from localq.messages import msg

__all__ = ["given_texts"]

_MOST_BYTES = 256 << 20


def given_texts(arguments: Sequence[str], file: str | None) -> tuple[str, ...]:
    """The arguments, and the lines of `file` ("-": stdin, which is read too where nothing else is
    given and it is no terminal). UsageError, BadFileError for lines that are no text."""
    if file is None and not arguments and not sys.stdin.isatty():
        file = "-"
    if file is None:
        return tuple(arguments)
    if file == "-":
        lines = _lines(sys.stdin.buffer, Path("stdin"))
    else:
        path = Path(os.path.expanduser(file))  # noqa: PTH111 - Path refuses "~nobody"
        try:
            with path.open("rb") as stream:
                lines = _lines(stream, path)
        except OSError as error:
            raise NotFoundError(
                msg("{path}: cannot be read: {reason}", path=path, reason=error.strerror or error)
            ) from error
    return (*arguments, *lines)


def _lines(stream: BinaryIO, path: Path) -> list[str]:
    data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UsageError(
            msg("{path}: more than {most:,} bytes of text", path=path, most=_MOST_BYTES),
            hint=msg("give it in several parts"),
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFileError(path, msg("line {line} is not UTF-8", line=line)) from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines
