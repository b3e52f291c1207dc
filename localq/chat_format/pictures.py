"""Pictures in messages, and the places that are kept for them in the text that a template makes."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from localq.chat_format.message import ChatMessage

__all__ = ["MarkedMessages", "mark_pictures"]


@dataclass(frozen=True, slots=True)
class MarkedMessages:
    """Messages whose text has `mark` where a picture belongs; `files` are those in base64."""

    messages: tuple[ChatMessage, ...]
    files: tuple[str, ...] = ()
    mark: str = ""


def mark_pictures(messages: Sequence[ChatMessage]) -> MarkedMessages:
    """The mark is another one each time, so that no text has it already."""
    if not any(message.pictures for message in messages):
        return MarkedMessages(tuple(messages))
    mark = f"picture{secrets.token_hex(16)}"
    files: list[str] = []
    marked = []
    for message in messages:
        parts, end = [], 0
        for picture in sorted(message.pictures, key=lambda one: one.at):
            parts += [message.content[end : picture.at], mark]
            end = max(end, picture.at)
            files.append(base64.b64encode(picture.data).decode("ascii"))
        content = "".join([*parts, message.content[end:]])
        marked.append(replace(message, content=content, pictures=()))
    return MarkedMessages(tuple(marked), tuple(files), mark)
