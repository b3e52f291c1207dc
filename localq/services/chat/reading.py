"""A reply while it comes: what of it is thought, what is said, what is to be called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from localq.sessions import ToolCall

__all__ = ["CallMade", "ContentText", "ReasoningText", "ReplyEvent", "ReplyReader", "WholeText"]


@dataclass(frozen=True, slots=True)
class ReasoningText:
    text: str


@dataclass(frozen=True, slots=True)
class ContentText:
    text: str


@dataclass(frozen=True, slots=True)
class CallMade:
    call: ToolCall


ReplyEvent: TypeAlias = ReasoningText | ContentText | CallMade


class ReplyReader(Protocol):
    def feed(self, text: str) -> Iterator[ReplyEvent]:
        """What the next piece of the reply's text tells."""

    def finish(self) -> Iterator[ReplyEvent]:
        """What was held back, now that the reply has ended."""


class WholeText:
    """A reader that takes everything for what is said."""

    def feed(self, text: str) -> Iterator[ReplyEvent]:
        yield ContentText(text)

    def finish(self) -> Iterator[ReplyEvent]:
        return iter(())
