"""Tool calls of which the arguments, or all of it, are JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.made import call, calls_in
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream
from localq.chat_format.reply.tools import Tools, json_value

__all__ = [
    "CallReader",
    "DeepSeekCalls",
    "JsonCalls",
    "KimiCalls",
    "SolarCall",
    "mistral_calls",
]

CallReader = Callable[[ReplyStream, Tools], Reading[list[ToolCall]]]
"""Reads what follows the marker with which calls begin. MalformedError where it is no call; what it
has read until then is given out as text."""

_FENCE = re.compile(r"\s*(?:```(?:json)?\s*)?")


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """{"name": ..., "arguments": {...}}, several of them, or lists of them; then perhaps an end."""

    ends: tuple[str, ...] = ()
    keyed: bool = False
    """{name: {arguments}}"""

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        calls: list[ToolCall] = []
        yield from stream.match(_FENCE, 16)
        while True:
            value = json_value((yield from stream.bracketed()))
            calls += calls_in(value, keyed=self.keyed)
            yield from stream.space()
            if (yield from stream.skip((",", ";"))):
                yield from stream.space()
            if (yield from stream.peek(1)) not in ("{", "["):
                break
        yield from stream.skip(("```",))
        if self.ends:
            yield from stream.space()
            yield from stream.skip(self.ends)
        return calls


def mistral_calls(stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
    """After [TOOL_CALLS]: a list as JSON (old), or name[ARGS]{...}, also name[CALL_ID]id[ARGS]{...}
    and name{...} (new)."""
    yield from stream.space()
    if (yield from stream.peek(1)) in ("[", "{"):
        return (yield from JsonCalls()(stream, tools))
    name, separator = yield from stream.name(("[ARGS]", "[CALL_ID]", "{"))
    id_ = ""
    if separator == "[CALL_ID]":
        id_, _ = yield from stream.name(("[ARGS]",))
    if separator != "{":
        yield from stream.space()
    arguments = yield from stream.bracketed(opened="{" if separator == "{" else "")
    return [call(name, json_value(arguments), id_)]


class KimiCalls:
    """A section of calls: functions.NAME:INDEX, which is the call's id, and JSON."""

    marks = (
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    )

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        begin, separator, end, section_end = self.marks
        calls: list[ToolCall] = []
        while (yield from _section_goes_on(stream, begin, section_end)):
            id_, _ = yield from stream.name((separator,))
            name = id_.removeprefix("functions.").partition(":")[0]
            arguments = yield from _arguments(stream, end)
            calls.append(call(name, arguments, id_))
        return calls


class DeepSeekCalls:
    """A section of calls: NAME, a separator and JSON (V3.1), or a kind, a separator, NAME and JSON
    in a fence (V3, R1)."""

    marks = (
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    )

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        begin, separator, end, section_end = self.marks
        calls: list[ToolCall] = []
        while (yield from _section_goes_on(stream, begin, section_end)):
            name, _ = yield from stream.name((separator,))
            yield from stream.space()
            if (yield from stream.peek(1)) != "{":  # it was the kind: "function"
                name, _ = yield from stream.name(("\n",))
            arguments = yield from _arguments(stream, end)
            calls.append(call(name, arguments))
        return calls


class SolarCall:
    """An id, a name, and arguments as JSON."""

    marks = ("<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>")

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        id_, _ = yield from stream.name(self.marks[:1])
        name, _ = yield from stream.name(self.marks[1:2])
        return [call(name, (yield from _arguments(stream, self.marks[2])), id_)]


def _section_goes_on(stream: ReplyStream, begin: str, end: str) -> Reading[bool]:
    """Read the beginning of the next call, or the section's end. MalformedError for anything else
    but the end of the reply."""
    yield from stream.space()
    mark = yield from stream.skip((begin, end))
    if not mark and not stream.exhausted:
        raise MalformedError
    return mark == begin


def _arguments(stream: ReplyStream, end: str) -> Reading[Any]:
    """JSON, perhaps in a fence, and perhaps the end of the call."""
    yield from stream.match(_FENCE, 16)
    value = json_value((yield from stream.bracketed()))
    yield from stream.space()
    if (yield from stream.skip(("```",))):
        yield from stream.space()
    yield from stream.skip((end,))
    return value
