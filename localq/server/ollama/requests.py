"""What /api/chat and /api/generate are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localq.chat_format.message import ChatMessage, Picture, Role, ToolCall
from localq.server.fields import Fields
from localq.server.openai.chat_request import read_tools
from localq.server.openai.sampling import read_seed, read_stop
from localq.server.pictures import MAX_PICTURES, read_base64
from localq.services.serving.chat_prompt import ChatInput

__all__ = ["OllamaRequest", "read_chat", "read_generate"]

_MAX_MESSAGES = 10_000
_MAX_CALLS = 128
_ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
_NUMBERS = {
    "temperature": (0, 100),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (0.01, 100),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
}


@dataclass(frozen=True, slots=True)
class OllamaRequest:
    """`prompt`: gone on with as it is, in place of a conversation."""

    model: str | None
    chat: ChatInput
    prompt: str | None
    sampling: Mapping[str, Any]
    stream: bool


def read_chat(fields: Fields) -> OllamaRequest:
    """RequestError names what is wrong. Without messages only the model is loaded."""
    messages = tuple(_message(one) for one in fields.objects("messages", most=_MAX_MESSAGES))
    return _request(fields, messages, None)


def read_generate(fields: Fields) -> OllamaRequest:
    pictures = _pictures(fields)
    text = fields.text("prompt") or ""
    messages = [ChatMessage("user", text, pictures=pictures)] if text or pictures else []
    if messages and (system := fields.text("system")):
        messages.insert(0, ChatMessage("system", system))
    raw = fields.flag("raw") and bool(text)
    if raw and pictures:
        fields.refuse("images", "left out where the prompt is raw")
    return _request(fields, tuple(messages), text if raw else None)


def _request(
    fields: Fields, messages: tuple[ChatMessage, ...], prompt: str | None
) -> OllamaRequest:
    options = fields.object("options") or Fields({}, "options")
    sampling: dict[str, Any] = {name: options.number(name, *of) for name, of in _NUMBERS.items()}
    most = options.whole("num_predict", -2, 1 << 30)
    sampling["max_tokens"] = None if most is None or most < 0 else most
    sampling["top_k"] = options.whole("top_k", 0, 2**31 - 1)
    sampling["penalty_last_n"] = options.whole("repeat_last_n", -1, 1 << 24)
    sampling["seed"] = read_seed(options)
    sampling["stop"] = read_stop(options, "stop")
    sampling["json_schema"] = _format(fields)
    think = fields.values.get("think")
    if think is not None and not isinstance(think, bool | str):
        fields.refuse("think", "true, false, or how much")
    return OllamaRequest(
        fields.text("model"),
        ChatInput(
            messages,
            read_tools(fields),
            think=think if isinstance(think, bool) else None,
            effort=think if isinstance(think, str) else None,
        ),
        prompt,
        sampling,
        fields.flag("stream", True),
    )


def _format(fields: Fields) -> str | None:
    if fields.values.get("format") in (None, ""):
        return None
    if fields.values["format"] == "json":
        return '{"type": "object"}'
    return fields.schema("format")


def _message(fields: Fields) -> ChatMessage:
    fields.require("role")
    role = fields.choice("role", _ROLES) or "user"
    pictures = _pictures(fields)
    content = fields.text("content") or ""
    if role == "assistant":
        calls = [_call(one) for one in fields.objects("tool_calls", most=_MAX_CALLS)]
        return ChatMessage(role, content, fields.text("thinking") or "", tuple(calls))
    name = fields.text("tool_name", most=256) or ""
    return ChatMessage(role, content, name=name, pictures=pictures)


def _call(fields: Fields) -> ToolCall:
    function = fields.object("function") or Fields({}, fields.path("function"))
    arguments = function.values.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(function.text("name", most=256) or "", text)


def _pictures(fields: Fields) -> tuple[Picture, ...]:
    images = fields.items("images", most=MAX_PICTURES) or []
    named = Fields({str(n): one for n, one in enumerate(images)}, fields.path("images"))
    return tuple(Picture(read_base64(named, str(n))) for n in range(len(images)))
