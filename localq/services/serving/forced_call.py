"""A reply that has to be a call of a tool: made sure by a grammar, whatever the model's family."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.reply import CallMade, Event

__all__ = ["CallParser", "ForcedCall"]


class ForcedCall:
    """One of `tools`, which are in the form of OpenAI's API."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        calls = [_schema_of(tool["function"]) for tool in tools]
        self.json_schema = json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls})

    def parser(self) -> CallParser:
        return CallParser()


class CallParser:
    """Takes the text of the call, which is told once it is whole."""

    def __init__(self) -> None:
        self._text = ""
        self._calls: tuple[ToolCall, ...] = ()

    def feed(self, text: str) -> list[Event]:
        self._text += text
        return []

    def finish(self) -> list[Event]:
        """A call that was cut off is none."""
        try:
            value = json.loads(self._text)
            name, arguments = value["name"], value["arguments"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return []
        call = ToolCall(name, json.dumps(arguments, ensure_ascii=False), secrets.token_hex(8))
        self._calls = (call,)
        return [CallMade(0, call)]

    @property
    def message(self) -> ChatMessage:
        return ChatMessage("assistant", "", tool_calls=self._calls)


def _schema_of(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
