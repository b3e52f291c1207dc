"""One message of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ChatMessage", "Picture", "Role", "ToolCall"]

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called."""

    name: str
    arguments: str
    """The text of a JSON object, as OpenAI's API has it."""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file, and where in the message's text it belongs: before character `at`."""

    data: bytes
    at: int = 0


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Role
    content: str
    reasoning: str = ""
    """What an assistant thought before it answered."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """The call that a tool's message answers."""
    name: str = ""
    """The function that a tool's message comes from; else found by `tool_call_id`."""
    pictures: tuple[Picture, ...] = ()
