"""What has been made of a reply: events for whoever shows it, and the message in the end."""

from __future__ import annotations

from dataclasses import replace

from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.reply.events import CallMade, ContentText, Event, ReasoningText

__all__ = ["ReplyPieces"]


class ReplyPieces:
    """White space between thinking, what is said, and calls belongs to none of them. White space
    around a reply that is nothing but text is kept."""

    def __init__(self) -> None:
        self.content = _Block()
        self.reasoning = _Block()
        self._events: list[Event] = []
        self._calls: list[ToolCall] = []

    def say(self, text: str) -> None:
        if said := self.content.add(text):
            self._tell(ContentText(said))

    def think(self, text: str) -> None:
        if thought := self.reasoning.add(text):
            self._tell(ReasoningText(thought))

    def begin_thinking(self) -> None:
        self.content.close()
        self.reasoning.begin()

    def end_thinking(self) -> None:
        self.reasoning.close()
        self.content.begin()

    def call(self, calls: list[ToolCall]) -> None:
        self.reasoning.close()
        self.content.close()
        for one in calls:
            if any(one.id == other.id for other in self._calls):
                one = replace(one, id=f"{one.id}-{len(self._calls)}")
            self._events.append(CallMade(len(self._calls), one))
            self._calls.append(one)
        self.content.begin()

    def finish(self) -> None:
        if rest := self.content.rest():
            self._tell(ContentText(rest))

    def events(self) -> list[Event]:
        """What is new since the last time."""
        events, self._events = self._events, []
        return events

    def message(self) -> ChatMessage:
        return ChatMessage("assistant", self.content.text, self.reasoning.text, tuple(self._calls))

    def _tell(self, event: ContentText | ReasoningText) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(last, ContentText | ReasoningText) and type(last) is type(event):
            self._events[-1] = type(event)(last.text + event.text)
        else:
            self._events.append(event)


class _Block:
    """Text in stretches, of which the white space at the ends is held back: whether it belongs to
    the text shows with what comes next."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._held: list[str] = []
        self._stripping = False
        self.begun = False
        """Whether this stretch has more than white space."""

    @property
    def text(self) -> str:
        return "".join(self._told)

    def begin(self) -> None:
        """A new stretch, without the white space in front of it."""
        self.close()
        self._stripping = True

    def close(self) -> None:
        """The stretch ends, without the white space behind it."""
        self._held.clear()
        self.begun = False

    def add(self, text: str) -> str:
        """What can be told now."""
        body = text.rstrip()
        if not body:
            if self.begun or not self._stripping:
                self._held.append(text)
            return ""
        if not self.begun and self._stripping:
            said = body.lstrip()
            if self._told:
                said = "\n\n" + said  # a paragraph of its own
        else:
            said = "".join(self._held) + body
        self._held = [text[len(body) :]] if len(body) < len(text) else []
        self.begun = True
        self._told.append(said)
        return said

    def rest(self) -> str:
        """The white space at the very end."""
        rest = "".join(self._held)
        self._held.clear()
        if rest:
            self._told.append(rest)
        return rest
