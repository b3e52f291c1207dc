"""Tool calls with a tag for each argument, of which the values are plain text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.made import call
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream
from localq.chat_format.reply.tools import Tools, json_value

__all__ = ["KeyValueCall", "TaggedCalls"]

_CDATA = re.compile(r"<!\[CDATA\[(.*)\]\]>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """Functions and parameters named in tags:

    `call`NAME`close_name`, then for each `parameter`NAME`close_name`VALUE`end_parameter`, then
    `end_call`; all of it perhaps within a section, which `ends` end.
    """

    call: str
    parameter: str
    close_name: str
    end_parameter: str
    end_call: str
    ends: tuple[str, ...] = ()
    lines: bool = False
    """Each value stands on lines of its own."""
    typed: bool = False
    """A parameter's tag says whether it is a string: name="x" string="true"."""

    def __call__(
        self, stream: ReplyStream, tools: Tools, opened: str = ""
    ) -> Reading[list[ToolCall]]:
        """`opened`: the first function, if its tag has been read."""
        calls: list[ToolCall] = []
        while True:
            if not opened:
                yield from stream.space()
                if not (yield from stream.skip((self.call,))):
                    break
                opened, _ = yield from stream.name((self.close_name,))
            name, opened = opened, ""
            arguments = yield from self._arguments(stream, tools, name)
            calls.append(call(name, arguments))
        if not calls:
            raise MalformedError
        if self.ends:
            yield from stream.space()
            yield from stream.skip(self.ends)
        return calls

    def after_tag(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        """Where the first function's tag has been read up to its name."""
        name, _ = yield from stream.name((self.close_name,))
        return (yield from self(stream, tools, name))

    def _arguments(self, stream: ReplyStream, tools: Tools, name: str) -> Reading[dict[str, Any]]:
        arguments: dict[str, Any] = {}
        while True:
            yield from stream.space()
            tag = yield from stream.skip((self.parameter, self.end_call))
            if tag != self.parameter:
                if not tag and not (yield from self._ends(stream)):
                    raise MalformedError
                return arguments
            parameter, _ = yield from stream.name((self.close_name,))
            kind = ""
            if self.typed:
                parameter, _, kind = parameter.partition('" string="')
            text = yield from self._value(stream)
            if kind == "true":
                arguments[parameter] = text
            elif kind == "false":
                arguments[parameter] = json_value(text)
            else:
                arguments[parameter] = tools.value(name, parameter, text)

    def _value(self, stream: ReplyStream) -> Reading[str]:
        """A value, which goes on where its end tag is not followed by what has to follow it: so
        that code about such tags is not cut off."""
        parts: list[str] = []
        while True:
            marker = yield from stream.until((self.end_parameter,), parts.append)
            if not marker:
                raise MalformedError
            after: list[str] = []
            yield from stream.space(after.append)
            follows = (self.parameter, self.end_call, *self.ends)
            if (yield from stream.ahead(follows)) or stream.exhausted:
                break
            parts += [marker, *after]
        text = "".join(parts)
        if self.lines:
            text = text.removeprefix("\n").removesuffix("\n")
        quoted = _CDATA.fullmatch(text)
        return quoted[1] if quoted else text

    def _ends(self, stream: ReplyStream) -> Reading[bool]:
        """Whether the section ends, or the reply: the end of the call was left out."""
        return bool(self.ends and (yield from stream.ahead(self.ends))) or stream.exhausted


class KeyValueCall:
    """A name, then for each argument <arg_key>KEY</arg_key> and <arg_value>VALUE</arg_value>."""

    marks = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>")

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        key_mark, end_key, value_mark, end_value, end = self.marks
        name = yield from stream.before((key_mark, end))
        name = name.removesuffix("<tool_sep>")
        arguments: dict[str, Any] = {}
        while True:
            yield from stream.space()
            if not (yield from stream.skip((key_mark,))):
                break
            key, _ = yield from stream.name((end_key,))
            yield from stream.space()
            yield from stream.expect((value_mark,))
            value, mark = yield from stream.text_until((end_value,))
            if not mark:
                raise MalformedError
            arguments[key] = tools.value(name, key, value)
        if not (yield from stream.skip((end,))) and not stream.exhausted:
            raise MalformedError
        if not arguments and name not in tools:  # it may be any text
            raise MalformedError
        return [call(name, arguments)]
