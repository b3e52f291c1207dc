"""What a reply turns out to be made of, as it comes."""

from __future__ import annotations

from dataclasses import dataclass

from localq.chat_format.message import ToolCall

__all__ = ["CallMade", "ContentText", "Event", "ReasoningText"]


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """More of what the model thinks."""

    text: str


@dataclass(frozen=True, slots=True)
class ContentText:
    """More of what the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class CallMade:
    """A tool call, told once it is whole."""

    index: int
    call: ToolCall


Event = ReasoningText | ContentText | CallMade
