"""How a family of models writes thinking, what it says, and calls into one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localq.chat_format.message import ChatMessage
from localq.chat_format.reply.call_forms import CallForm, form_of
from localq.chat_format.reply.events import Event
from localq.chat_format.reply.json_calls import CallReader
from localq.chat_format.reply.pieces import ReplyPieces
from localq.chat_format.reply.required import call_grammar
from localq.chat_format.reply.stream import Reading, ReplyStream
from localq.chat_format.reply.tools import Tools

__all__ = ["CallSyntax", "ReplyFormat", "ReplyParser", "ReplyReader"]

_TOKEN = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """Where calls begin, and what reads the rest of them."""

    opens: tuple[str, ...]
    read: CallReader
    at_start: bool = False
    """Only where nothing has been said before. What opens it is left for the reader."""
    ends_thinking: bool = False
    """It is a token that thinking cannot hold: thinking that was not ended ends here."""


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """Markers are texts; most are tokens of their own."""

    name: str
    reader: ReplyReader
    """Reads a reply by the markers below, or in a way of its own."""
    form: CallForm = field(default_factory=lambda: form_of("hermes"))
    """How calls are written where they have to be."""
    thinking: tuple[tuple[str, str], ...] = ()
    """What begins and ends thinking."""
    calls: tuple[CallSyntax, ...] = ()
    wrappers: tuple[tuple[str, str], ...] = ()
    """What may stand around all that is said, and is no part of it."""
    silent: tuple[str, ...] = ()
    """Tokens that are no part of what is said, wherever they stand."""
    needs: tuple[str, ...] = ()
    """What a template of this format holds, if that alone tells it."""
    control: tuple[str, ...] = ()
    """Further markers that may be control tokens, so that their text has to be asked for."""

    @property
    def markers(self) -> frozenset[str]:
        """All texts that have to be in a reply for it to be understood, control tokens or not, and
        the tokens that they are made of."""
        pairs = (*self.thinking, *self.wrappers)
        opens = (mark for syntax in self.calls if not syntax.at_start for mark in syntax.opens)
        both = (mark for pair in pairs for mark in pair)
        marks = (*both, *opens, *self.silent, *self.control)
        return frozenset(part for mark in marks for part in (mark, *_TOKEN.findall(mark)))

    def call_grammar(
        self,
        tools: Sequence[Mapping[str, Any]],
        prompt: str = "",
        name: str | None = None,
    ) -> str:
        """A grammar (GBNF) by which the reply to `prompt` is a call of one of the tools, or of the
        one named so, with thinking before it if the model thinks. NotFoundError for an unknown
        name."""
        chosen = Tools(tools)
        if name is not None:
            chosen = chosen.only(name)
        return call_grammar(self.form, chosen, next(iter(self.thinking), None), prompt)

    def parser(self, prompt: str = "", tools: Sequence[Mapping[str, Any]] = ()) -> ReplyParser:
        """For one reply to `prompt`, as the template rendered it; its end says whether the reply
        begins within thinking. Without tools nothing is taken for a call."""
        return ReplyParser(self, prompt, Tools(tools))


class ReplyParser:
    """Takes a reply apart as it comes. How it was cut into pieces makes no difference."""

    def __init__(self, format_: ReplyFormat, prompt: str, tools: Tools) -> None:
        self._stream = ReplyStream()
        self._pieces = ReplyPieces()
        self._reading = format_.reader(format_, self._stream, self._pieces, tools, prompt)
        self._done = False

    def feed(self, text: str) -> list[Event]:
        """What the next piece of text adds."""
        self._stream.put(text)
        self._advance()
        return self._pieces.events()

    def finish(self) -> list[Event]:
        """What was held back, now that nothing follows."""
        if not self._stream.ended:
            self._stream.ended = True
            self._advance()
            self._pieces.finish()
        return self._pieces.events()

    @property
    def message(self) -> ChatMessage:
        """All that has been told so far."""
        return self._pieces.message()

    @property
    def pending(self) -> int:
        """Characters that are held back: of a call that is being written, mostly."""
        return self._stream.held

    def _advance(self) -> None:
        if not self._done:
            self._done = next(self._reading, self) is self


ReplyReader = Callable[[ReplyFormat, ReplyStream, ReplyPieces, Tools, str], Reading[None]]
