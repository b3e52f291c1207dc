"""One message of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal, TypeAlias

__all__ = [
    "ROLES",
    "Attachment",
    "MessageState",
    "NewMessage",
    "Role",
    "SessionMessage",
    "ToolCall",
    "copy_of",
    "left_out_after",
]

Role: TypeAlias = Literal["system", "user", "assistant", "tool", "summary"]
"""`summary`: written by the model in place of what no longer fits the context."""

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool", "summary")


class MessageState(StrEnum):
    GROWING = "growing"
    """A program is writing it, or was killed while it did."""
    WHOLE = "whole"
    """It will not change any more; its `stop` says whether somebody cut it short."""
    INTERRUPTED = "interrupted"
    """The program that wrote it was killed; this is as far as it got."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """JSON."""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that was sent along with a message, or a picture in base64."""

    name: str
    content: str
    tokens: int | None = None
    """What it took of the context."""
    media: str = ""
    """Of a picture: image/png and the like."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is in no session yet; the fields are those of SessionMessage."""

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    attachments: tuple[Attachment, ...] = ()
    state: MessageState = MessageState.WHOLE
    model: str = ""
    prompt_tokens: int | None = None
    reused_tokens: int | None = None
    generated_tokens: int | None = None
    prompt_seconds: float | None = None
    generate_seconds: float | None = None
    stop: str | None = None
    left_out_id: int | None = None


@dataclass(frozen=True, slots=True)
class SessionMessage:
    id: int
    parent_id: int | None
    """The message before it; None: the first of its branch."""
    role: Role
    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str
    """Of a tool's answer: which call it answers."""
    attachments: tuple[Attachment, ...]
    state: MessageState
    model: str
    """Who wrote it; "" for what no model wrote."""
    created_at: float
    ended_at: float | None
    prompt_tokens: int | None
    """Of the whole prompt that it answers; `reused_tokens` of them did not have to be read."""
    reused_tokens: int | None
    generated_tokens: int | None
    prompt_seconds: float | None
    generate_seconds: float | None
    stop: str | None
    """Why it ended: one of `localq.engine.Stop`."""
    left_out_id: int | None
    """Of a reply: the last message that its prompt left out, with all before it. Of a summary:
    the last message that it stands for. None: nothing was left out."""

    @property
    def tokens_per_second(self) -> float | None:
        """How fast it was written, where that is known."""
        if not self.generated_tokens or not self.generate_seconds:
            return None
        return self.generated_tokens / self.generate_seconds


def copy_of(message: SessionMessage, place: Mapping[int, int]) -> NewMessage:
    """A message as a new one. What it refers to is named by its place among those that are
    copied, where it is one of them."""
    values = {field.name: getattr(message, field.name) for field in fields(NewMessage)}
    if message.state is MessageState.GROWING:
        values["state"] = MessageState.INTERRUPTED
    left_out = message.left_out_id
    values["left_out_id"] = None if left_out is None else place.get(left_out)
    return NewMessage(**values)


def left_out_after(path: Sequence[SessionMessage]) -> int | None:
    """The last message that the latest reply of the branch no longer took into account."""
    for message in reversed(path):
        if message.left_out_id is not None:
            return message.left_out_id
        if message.role == "assistant":
            return None
    return None
