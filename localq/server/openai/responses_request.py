"""What /v1/responses is asked. Nothing is kept between requests: each brings the whole
conversation, as Codex and others send it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localq.chat_format.message import ChatMessage, Role, ToolCall
from localq.messages import msg
from localq.server.failure import RequestError
from localq.server.fields import Fields
from localq.server.openai.chat_request import read_content
from localq.services.serving.chat_prompt import ChatInput
from localq.services.serving.forced_call import ForcedCall

__all__ = ["ResponsesRequest", "read_responses"]

_MAX_ITEMS = 10_000
_MAX_TOOLS = 512
_ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant")


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    model: str | None
    chat: ChatInput
    sampling: Mapping[str, Any]
    stream: bool
    forced: ForcedCall | None
    echoed: Mapping[str, Any]
    """Fields that the answer repeats."""


def read_responses(fields: Fields, *, remote_images: bool = False) -> ResponsesRequest:
    """RequestError names what is wrong."""
    if fields.text("previous_response_id"):
        raise RequestError(
            msg("{name} cannot be done for this request", name="previous_response_id"),
            param="previous_response_id",
            code="unsupported",
        )
    messages = _input(fields, remote_images)
    instructions = fields.text("instructions")
    if instructions:
        messages.insert(0, ChatMessage("system", instructions))
    if not messages:
        fields.refuse("input", "a text, or a list with at least one item")
    tools = tuple(t for one in fields.objects("tools", most=_MAX_TOOLS) if (t := _tool(one)))
    told, forced = _choice(fields, tools)
    reasoning = fields.object("reasoning")
    sampling = {
        "max_tokens": fields.whole("max_output_tokens", 1, 1 << 30),
        "temperature": fields.number("temperature", 0, 100),
        "top_p": fields.number("top_p", 0, 1),
        "json_schema": _format(fields),
    }
    repeated = ("instructions", "temperature", "top_p", "max_output_tokens", "metadata", "tools")
    return ResponsesRequest(
        fields.text("model"),
        ChatInput(
            tuple(messages),
            told,
            think=False if forced else None,
            effort=reasoning.text("effort", most=32) if reasoning and not forced else None,
        ),
        sampling,
        fields.flag("stream"),
        None if sampling["json_schema"] else forced,
        {name: fields.values.get(name) for name in repeated},
    )


def _input(fields: Fields, remote_images: bool) -> list[ChatMessage]:
    value = fields.require("input")
    if isinstance(value, str):
        return [ChatMessage("user", value)]
    found: list[ChatMessage] = []
    thought = ""
    for item in fields.objects("input", most=_MAX_ITEMS):
        match item.text("type") or "message":
            case "message":
                role = item.choice("role", _ROLES) or "user"
                reasoning, thought = (thought, "") if role == "assistant" else ("", thought)
                content, pictures = read_content(item, remote_images=remote_images)
                found.append(ChatMessage(role, content, reasoning, pictures=pictures))
            case "function_call":
                call = ToolCall(
                    item.text("name", most=256) or "",
                    item.text("arguments") or "{}",
                    item.text("call_id", most=256) or "",
                )
                _add_call(found, call, thought)
                thought = ""
            case "function_call_output":
                id_ = item.text("call_id", most=256) or ""
                content, pictures = read_content(item, "output", remote_images=remote_images)
                found.append(ChatMessage("tool", content, tool_call_id=id_, pictures=pictures))
            case "reasoning":
                thought = read_reasoning(item)
            case kind:
                path = item.path("type")
                raise RequestError(
                    msg("{path}: parts of type {kind!r} cannot be read here", path=path, kind=kind),
                    param=path,
                    code="unsupported_content",
                )
    return found


def read_reasoning(item: Fields) -> str:
    """The text of an item of thinking, where it is there."""
    texts = [one.text("text") or "" for one in item.objects("content", most=_MAX_ITEMS)]
    return "\n".join(texts)


def _add_call(found: list[ChatMessage], call: ToolCall, reasoning: str) -> None:
    """Calls that follow each other, or what was said, are of one message."""
    if found and found[-1].role == "assistant" and not reasoning:
        last = found.pop()
        found.append(
            ChatMessage("assistant", last.content, last.reasoning, (*last.tool_calls, call))
        )
    else:
        found.append(ChatMessage("assistant", "", reasoning, (call,)))


def _tool(fields: Fields) -> Mapping[str, Any] | None:
    """In the form of chat completions; None for kinds that only OpenAI's servers know."""
    if fields.text("type") != "function":
        return None
    fields.require("name")
    fields.schema("parameters")
    function = {
        "name": fields.text("name", most=256),
        "description": fields.text("description", most=1 << 18) or "",
        "parameters": fields.values.get("parameters") or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _choice(
    fields: Fields, tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], ForcedCall | None]:
    choice = fields.values.get("tool_choice")
    if choice is None or choice == "auto":
        return tools, None
    if choice == "none":
        return (), None
    if choice != "required" and not isinstance(choice, dict):
        fields.refuse("tool_choice", "none, auto, required, or a function")
    name = None if choice == "required" else choice.get("name")
    chosen = [t for t in tools if name is None or t["function"]["name"] == name]
    if not chosen:
        fields.refuse("tool_choice", "one of the tools")
    return tools, ForcedCall(chosen)


def _format(fields: Fields) -> str | None:
    text = fields.object("text")
    wanted = text and text.object("format")
    kind = wanted and wanted.choice("type", ("text", "json_object", "json_schema"))
    if wanted is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return '{"type": "object"}'
    wanted.require("schema")
    return wanted.schema("schema")
