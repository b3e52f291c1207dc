"""Tool calls that nothing but their place marks: they are what a reply begins with."""

from __future__ import annotations

import re

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.json_calls import JsonCalls
from localq.chat_format.reply.literal_calls import PythonicCalls, python_calls
from localq.chat_format.reply.made import call
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream
from localq.chat_format.reply.tools import Tools

__all__ = ["action_calls", "bare_calls", "python_tag_calls"]

# As little as tells a call from other JSON, or from a list.
_BARE_JSON = re.compile(r'\{\s*"(?:name|type|function|id|tool_name|parameters|arguments)"')
_BARE_PYTHON = re.compile(r"\[\s*[A-Za-z_][\w.]*\(")
_LOOK = 200


def bare_calls(stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
    """{"name": ..., "parameters": {...}} or [f(a=1)], of functions that there are."""
    bracket = yield from stream.peek(1)
    pattern = _BARE_JSON if bracket == "{" else _BARE_PYTHON
    for length in range(2, _LOOK):
        here = yield from stream.peek(length)
        if pattern.match(here):
            break
        if len(here) < length or not _may_become(pattern, here):
            raise MalformedError
    else:
        raise MalformedError
    read = JsonCalls() if bracket == "{" else PythonicCalls()
    calls: list[ToolCall] = yield from read(stream, tools)
    if not all(made.name in tools for made in calls):
        raise MalformedError
    return calls


def _may_become(pattern: re.Pattern[str], text: str) -> bool:
    if pattern is _BARE_PYTHON:
        return re.fullmatch(r"\[\s*(?:[A-Za-z_][\w.]*)?", text) is not None
    return re.fullmatch(r'\{\s*(?:"\w*)?', text) is not None


def python_tag_calls(stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
    """After <|python_tag|>: a call as JSON, NAME.call(a="x") of a built-in tool, or code."""
    yield from stream.space()
    if (yield from stream.peek(1)) == "{":
        return (yield from JsonCalls()(stream, tools))
    source, _ = yield from stream.text_until(("<|eom_id|>", "<|eot_id|>"))
    try:
        made = list(python_calls(source.strip(), tools))
    except MalformedError:
        made = []
    if len(made) == 1 and made[0].name.endswith(".call"):
        one = made[0]
        return [ToolCall(one.name.removesuffix(".call"), one.arguments, one.id)]
    name = next((n for n in ("python", "code_interpreter", "ipython") if n in tools), "")
    if not name:
        raise MalformedError
    parameter = next(iter(tools.parameters(name)), "code")
    return [call(name, {parameter: source})]


def action_calls(stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
    """After "Action:": a list as JSON in a fence."""
    yield from stream.space()
    yield from stream.expect(("```json",))
    yield from stream.space()
    return (yield from JsonCalls()(stream, tools))
