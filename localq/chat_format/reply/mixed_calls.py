"""Markers after which several families write their calls, each in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.json_calls import JsonCalls
from localq.chat_format.reply.made import call
from localq.chat_format.reply.stream import Reading, ReplyStream
from localq.chat_format.reply.tools import Tools, json_value
from localq.chat_format.reply.xml_calls import KeyValueCall, TaggedCalls

__all__ = ["FunctionTag", "ToolCallTag"]


@dataclass(frozen=True, slots=True)
class ToolCallTag:
    """After <tool_call>: JSON (Hermes, Qwen), tags (Qwen3-Coder), or keys and values (GLM)."""

    tagged: TaggedCalls

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        yield from stream.space()
        begins = yield from stream.ahead(("{", "[", "```", self.tagged.call))
        if begins == self.tagged.call:
            return (yield from self.tagged(stream, tools))
        if begins:
            return (yield from JsonCalls(("</tool_call>",))(stream, tools))
        return (yield from KeyValueCall()(stream, tools))


@dataclass(frozen=True, slots=True)
class FunctionTag:
    """After <function=: NAME>{...}</function> (Llama, Functionary), or tags (Qwen3-Coder)."""

    tagged: TaggedCalls

    def __call__(self, stream: ReplyStream, tools: Tools) -> Reading[list[ToolCall]]:
        name, _ = yield from stream.name((">",))
        yield from stream.space()
        if (yield from stream.peek(1)) != "{":
            return (yield from self.tagged(stream, tools, name))
        made = call(name, json_value((yield from stream.bracketed())))
        yield from stream.space()
        yield from stream.skip(("</function>",))
        return [made]
