"""Texts that are sent along with a message: read from files, written into the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from localq.errors import BadFileError, NotFoundError, UsageError
from localq.messages import msg
from localq.sessions.message import Attachment

__all__ = ["MAX_ATTACHMENT", "decode_attachment", "read_attachment", "with_attachments"]

MAX_ATTACHMENT = 10_000_000
"""Bytes."""

_LANGUAGES = {
    "c": "c", "cc": "cpp", "cpp": "cpp", "cs": "csharp", "css": "css", "go": "go", "h": "c",
    "html": "html", "java": "java", "js": "javascript", "json": "json", "jsx": "jsx",
    "kt": "kotlin", "lua": "lua", "md": "markdown", "php": "php", "pl": "perl", "py": "python",
    "r": "r", "rb": "ruby", "rs": "rust", "sh": "bash", "sql": "sql", "swift": "swift",
    "toml": "toml", "ts": "typescript", "tsx": "tsx", "xml": "xml", "yaml": "yaml", "yml": "yaml",
}  # fmt: skip
_FENCE = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def read_attachment(path: Path) -> Attachment:
    """A file of text or code. NotFoundError; BadFileError where it is none, or too long."""
    try:
        with path.open("rb") as file:
            return decode_attachment(path.name, _read(file), path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def _read(file: BinaryIO) -> bytes:
    return file.read(MAX_ATTACHMENT + 1)


def decode_attachment(name: str, data: bytes, path: Path | str | None = None) -> Attachment:
    """The text that `data` is; `path` is what errors name."""
    if len(data) > MAX_ATTACHMENT:
        raise BadFileError(
            path or name,
            msg("longer than the 10 MB that can be sent along"),
            hint=msg("send the part of it that matters"),
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(
            path or name, msg("no text: only UTF-8 can be sent along"), offset=error.start
        ) from None
    if "\0" in text:
        raise BadFileError(path or name, msg("no text: it has zero bytes"), offset=text.index("\0"))
    if not text.strip():
        raise UsageError(msg("{name}: there is nothing in it", name=path or name))
    return Attachment(name, text.replace("\r\n", "\n"))


def with_attachments(text: str, attachments: Iterable[Attachment]) -> str:
    """What the model reads: each text under its name in a fence, then the message. Pictures are
    named."""
    parts = []
    for attachment in attachments:
        if attachment.media:
            parts.append(f"[picture: {attachment.name}]")
            continue
        longest = max((len(run) for run in _FENCE.findall(attachment.content)), default=2)
        fence = "`" * (longest + 1)
        language = _LANGUAGES.get(attachment.name.rpartition(".")[2].lower(), "")
        content = attachment.content.rstrip("\n")
        parts.append(f"{attachment.name}:\n{fence}{language}\n{content}\n{fence}")
    return "\n\n".join([*parts, text] if text else parts)
