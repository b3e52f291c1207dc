"""Replies in which markers stand around thinking and calls; all else is what the model says."""

from __future__ import annotations

from localq.chat_format.reply.format import CallSyntax, ReplyFormat
from localq.chat_format.reply.pieces import ReplyPieces
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream
from localq.chat_format.reply.tools import Tools

__all__ = ["read_call", "read_tagged"]


def read_tagged(
    format_: ReplyFormat, stream: ReplyStream, pieces: ReplyPieces, tools: Tools, prompt: str
) -> Reading[None]:
    yield from _TaggedReply(format_, stream, pieces, tools).read(prompt.rstrip())


def read_call(
    stream: ReplyStream, pieces: ReplyPieces, tools: Tools, syntax: CallSyntax, mark: str
) -> Reading[bool]:
    """Calls, or else what was read of them as something that is said. Whether it was calls."""
    stream.record(mark)
    try:
        calls = yield from syntax.read(stream, tools)
    except MalformedError:
        pieces.say(stream.recorded())
        return False
    stream.recorded()
    pieces.call(calls)
    return True


class _TaggedReply:
    def __init__(
        self, format_: ReplyFormat, stream: ReplyStream, pieces: ReplyPieces, tools: Tools
    ) -> None:
        self._stream = stream
        self._pieces = pieces
        self._tools = tools
        calls = format_.calls if tools else ()
        self._at_start = {m: syntax for syntax in calls if syntax.at_start for m in syntax.opens}
        self._calls = {m: syntax for syntax in calls if not syntax.at_start for m in syntax.opens}
        self._thinking = dict(format_.thinking)
        self._wrappers = dict(format_.wrappers)
        self._wrapped = ""
        """What ends the wrapper that was opened."""
        self._silent = format_.silent
        self._marks = (
            *self._calls,
            *self._thinking,
            *self._thinking.values(),
            *self._wrappers,
            *self._wrappers.values(),
            *self._silent,
        )

    def read(self, prompt: str) -> Reading[None]:
        open_ = next((mark for mark in self._thinking if prompt.endswith(mark)), "")
        mark = (yield from self._think(open_)) if open_ else ""
        while mark := mark or (yield from self._said()):
            mark = yield from self._marked(mark)

    def _said(self) -> Reading[str]:
        """Read what the model says, until a marker: the result, "" at the end."""
        while self._at_start and not self._pieces.content.begun:
            yield from self._stream.space(self._pieces.say)
            syntax = self._at_start.get((yield from self._stream.ahead(tuple(self._at_start))))
            if not syntax or not (yield from self._call(syntax, "")):
                break
        return (yield from self._stream.until(self._marks, self._pieces.say))

    def _marked(self, mark: str) -> Reading[str]:
        """What a marker means; the marker that ended it, if that means something too."""
        nothing_said = not self._pieces.content.begun
        if syntax := self._calls.get(mark):
            yield from self._call(syntax, mark)
        elif mark in self._thinking and nothing_said:
            return (yield from self._think(mark))
        elif mark in self._wrappers and nothing_said:
            self._wrapped = self._wrappers[mark]
            self._pieces.content.begin()
        elif mark == self._wrapped:
            self._wrapped = ""
            self._pieces.content.begin()
        elif mark in self._thinking.values() and nothing_said:
            self._pieces.end_thinking()  # of which there was none
        elif mark not in self._silent:
            self._pieces.say(mark)
        return ""

    def _call(self, syntax: CallSyntax, mark: str) -> Reading[bool]:
        return (yield from read_call(self._stream, self._pieces, self._tools, syntax, mark))

    def _think(self, mark: str) -> Reading[str]:
        """Read what the model thinks. The result is what ended it, unless it is its own end."""
        close = self._thinking[mark]
        others = [m for m, syntax in self._calls.items() if syntax.ends_thinking]
        self._pieces.begin_thinking()
        yield from self._stream.space()
        yield from self._stream.skip((mark,))  # some write it though the prompt has it already
        end = yield from self._stream.until((close, *others), self._pieces.think)
        self._pieces.end_thinking()
        return "" if end == close else end
