"""What /v1/messages is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localq.chat_format.message import ChatMessage, Picture, Role, ToolCall
from localq.messages import msg
from localq.server.failure import RequestError
from localq.server.fields import Fields
from localq.server.openai.sampling import read_stop
from localq.server.pictures import read_base64, read_picture_url
from localq.services.serving.chat_prompt import ChatInput
from localq.services.serving.forced_call import ForcedCall

__all__ = ["MessagesRequest", "read_messages"]

_MAX_MESSAGES = 10_000
_MAX_BLOCKS = 10_000
_MAX_TOOLS = 512
_ROLES: tuple[Role, ...] = ("user", "assistant", "system")
_CHANGING = re.compile(r"\Ax-anthropic-billing-header:[^\n]*\n?")
"""What some agents put in front of everything and change with every request: nothing for the model
to know, and with it in front nothing that was read before could be used again."""


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    model: str | None
    chat: ChatInput
    sampling: Mapping[str, Any]
    stream: bool
    forced: ForcedCall | None
    parallel: bool


def read_messages(
    fields: Fields, *, counting: bool = False, remote_images: bool = False
) -> MessagesRequest:
    """RequestError names what is wrong; `counting`: only to count its tokens."""
    if not counting:
        fields.require("max_tokens")
    fields.require("messages")
    messages = [
        one
        for message in fields.objects("messages", most=_MAX_MESSAGES)
        for one in _messages(message, remote_images)
    ]
    if not messages:
        fields.refuse("messages", "a list with at least one message")
    if system := _system(fields):
        messages.insert(0, ChatMessage("system", system))
    tools = tuple(tool for one in fields.objects("tools", most=_MAX_TOOLS) if (tool := _tool(one)))
    choice = fields.object("tool_choice")
    tools, forced = _choice(fields, choice, tools)
    thinking = fields.object("thinking")
    think = None
    if thinking is not None:
        think = thinking.text("type") != "disabled"
    sampling = {
        "max_tokens": fields.whole("max_tokens", 1, 1 << 30),
        "temperature": fields.number("temperature", 0, 100),
        "top_p": fields.number("top_p", 0, 1),
        "top_k": fields.whole("top_k", 0, 2**31 - 1),
        "stop": read_stop(fields, "stop_sequences"),
    }
    return MessagesRequest(
        fields.text("model"),
        ChatInput(tuple(messages), tools, think=False if forced else think),
        sampling,
        fields.flag("stream"),
        forced,
        not (choice is not None and choice.flag("disable_parallel_tool_use")),
    )


def _system(fields: Fields) -> str:
    value = fields.values.get("system")
    if value is None:
        return ""
    texts = [value] if isinstance(value, str) else []
    if not texts:
        texts = [one.text("text") or "" for one in fields.objects("system", most=_MAX_BLOCKS)]
    kept = [_CHANGING.sub("", text, count=1) for text in texts]
    return "\n".join(text for text in kept if text)


def _messages(fields: Fields, remote_images: bool) -> list[ChatMessage]:
    """One message may hold the results of several calls, which are messages of their own."""
    fields.require("role")
    role = fields.choice("role", _ROLES) or "user"
    content = fields.require("content")
    if isinstance(content, str):
        return [ChatMessage(role, content)]
    said: list[str] = []
    thought: list[str] = []
    calls: list[ToolCall] = []
    found: list[ChatMessage] = []
    seen: list[tuple[int, bytes]] = []
    """Pictures, and how many texts there were before."""
    for block in fields.objects("content", most=_MAX_BLOCKS):
        match block.text("type"):
            case "text":
                said.append(block.text("text") or "")
            case "image":
                seen.append((len(said), _picture(block, remote_images)))
            case "thinking":
                thought.append(block.text("thinking") or "")
            case "redacted_thinking":
                pass
            case "tool_use":
                arguments = json.dumps(block.values.get("input") or {}, ensure_ascii=False)
                id_ = block.text("id", most=256) or ""
                calls.append(ToolCall(block.text("name", most=256) or "", arguments, id_))
            case "tool_result":
                id_ = block.text("tool_use_id", most=256) or ""
                text, pictures = _result(block, remote_images)
                found.append(ChatMessage("tool", text, tool_call_id=id_, pictures=pictures))
            case kind:
                path = block.path("type")
                raise RequestError(
                    msg("{path}: parts of type {kind!r} cannot be read here", path=path, kind=kind),
                    param=path,
                    code="unsupported_content",
                )
    if said or thought or calls or seen or not found:
        text, reasoning = "\n".join(said), "\n".join(thought)
        if role == "assistant":
            found.append(ChatMessage("assistant", text, reasoning, tuple(calls)))
        else:
            found.append(ChatMessage(role, text, pictures=_placed(said, seen)))
    return found


def _picture(fields: Fields, remote_images: bool) -> bytes:
    source = fields.object("source")
    if source is None:
        fields.refuse("source", "where the picture is")
    if source.choice("type", ("base64", "url")) == "url":
        return read_picture_url(source, "url", remote=remote_images)
    return read_base64(source, "data")


def _placed(said: Sequence[str], seen: Sequence[tuple[int, bytes]]) -> tuple[Picture, ...]:
    """Pictures where they stand between the lines."""
    return tuple(Picture(data, len("\n".join([*said[:before], ""]))) for before, data in seen)


def _result(block: Fields, remote_images: bool) -> tuple[str, tuple[Picture, ...]]:
    content = block.values.get("content")
    if content is None or isinstance(content, str):
        return content or "", ()
    texts: list[str] = []
    seen: list[tuple[int, bytes]] = []
    for one in block.objects("content", most=_MAX_BLOCKS):
        if one.text("type") == "image":
            seen.append((len(texts), _picture(one, remote_images)))
        else:
            texts.append(one.text("text") or "")
    return "\n".join(texts), _placed(texts, seen)


def _tool(fields: Fields) -> Mapping[str, Any] | None:
    """In OpenAI's form; None for those that Anthropic's own servers would run."""
    kind = fields.text("type")
    if kind not in (None, "custom"):
        return None
    fields.require("name")
    fields.schema("input_schema")
    function = {
        "name": fields.text("name", most=256),
        "description": fields.text("description", most=1 << 18) or "",
        "parameters": fields.values.get("input_schema") or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _choice(
    fields: Fields, choice: Fields | None, tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], ForcedCall | None]:
    kind = choice and choice.choice("type", ("auto", "any", "tool", "none"))
    if choice is None or kind in (None, "auto"):
        return tools, None
    if kind == "none":
        return (), None
    name = choice.text("name")
    chosen = [t for t in tools if kind == "any" or t["function"]["name"] == name]
    if not chosen:
        fields.refuse("tool_choice", "one of the tools")
    return tools, ForcedCall(chosen)
