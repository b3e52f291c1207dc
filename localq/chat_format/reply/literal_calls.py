"""Tool calls written as Python, or as literals that are nearly JSON."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.made import call
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream
from localq.chat_format.reply.tools import Tools, json_value, node_value

__all__ = ["GemmaCall", "PythonicCalls", "python_calls"]

_MAX_SOURCE = 1 << 20
_BARE_KEY = re.compile(r"([{,]\s*)([^\s\"{}\[\],:]+)(\s*:)")
_PYTHON_NAMES = re.compile(r"(?<![\w\"])(True|False|None)(?![\w\"])")
_JSON_NAMES = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class PythonicCalls:
    """[f(a=1), g(b="x")], or one call a line without the list; then perhaps an end."""

    ends: tuple[str, ...] = ()

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        yield from stream.space()
        if (yield from stream.peek(1)) == "[":
            source = yield from stream.bracketed("\"'")
            calls = list(python_calls(source, tools))
        else:
            calls = []
            while True:
                name = yield from stream.before(("(",))
                source = name + (yield from stream.bracketed("\"'"))
                calls += python_calls(source, tools)
                yield from stream.space()
                if stream.exhausted or (self.ends and (yield from stream.ahead(self.ends))):
                    break
        if self.ends:
            yield from stream.space()
            yield from stream.skip(self.ends)
        return calls


def python_calls(source: str, tools: Tools) -> Iterator[ToolCall]:
    """The calls in a Python expression: one, or a list. MalformedError."""
    if len(source) > _MAX_SOURCE:
        raise MalformedError
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise MalformedError from None
    for node in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(node, ast.Call):
            raise MalformedError
        name = ast.unparse(node.func)
        parameters = list(tools.parameters(name))
        if len(node.args) > len(parameters) or any(k.arg is None for k in node.keywords):
            raise MalformedError
        arguments = {
            parameter: node_value(value)
            for parameter, value in zip(parameters, node.args, strict=False)
        }
        arguments |= {str(keyword.arg): node_value(keyword.value) for keyword in node.keywords}
        yield call(name, arguments)


@dataclass(frozen=True, slots=True)
class GemmaCall:
    """call:NAME{key:value,...}, strings between quotes that are tokens of their own."""

    end: str
    quote: str

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        yield from stream.space()
        yield from stream.expect(("call:",))
        name = yield from stream.before(("{",))
        read: list[str] = []
        while True:
            text, marker = yield from stream.text_until((self.quote, self.end))
            read.append(_as_json(text))
            if marker != self.quote:
                break
            string, marker = yield from stream.text_until((self.quote,))
            if not marker:
                raise MalformedError
            read.append(json.dumps(string, ensure_ascii=False))
        return [call(name, json_value("".join(read)))]


def _as_json(text: str) -> str:
    """What is between the strings, as JSON has it."""
    text = _BARE_KEY.sub(r'\1"\2"\3', text)
    return _PYTHON_NAMES.sub(lambda name: _JSON_NAMES[name[0]], text)
