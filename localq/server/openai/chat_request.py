"""What /v1/chat/completions is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from localq.chat_format.message import ChatMessage, Picture, Role, ToolCall
from localq.messages import msg
from localq.server.failure import RequestError
from localq.server.fields import Fields
from localq.server.openai.sampling import MAX_REPLIES, read_response_format, read_sampling
from localq.server.pictures import MAX_PICTURES, read_picture_url
from localq.services.serving.chat_prompt import ChatInput
from localq.services.serving.forced_call import ForcedCall

__all__ = ["ChatRequest", "read_chat", "read_content", "read_tools"]

_MAX_MESSAGES = 10_000
_MAX_PARTS = 10_000
_MAX_CALLS = 128
_MAX_TOOLS = 512
_TOP_LOGPROBS = 20
_NAME = re.compile(r"[\w.:/\-]{1,256}")
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str | None
    chat: ChatInput
    sampling: Mapping[str, Any]
    """Fields of SamplingParams; None: not given."""
    count: int
    stream: bool
    include_usage: bool
    forced: ForcedCall | None
    parallel: bool
    """Whether a reply may hold several calls."""


def read_chat(fields: Fields, *, remote_images: bool = False) -> ChatRequest:
    """RequestError names what is wrong; `remote_images`: pictures that are only named are
    fetched."""
    fields.require("messages")
    messages = tuple(
        _message(one, remote_images) for one in fields.objects("messages", most=_MAX_MESSAGES)
    )
    if not messages:
        fields.refuse("messages", "a list with at least one message")
    tools = read_tools(fields)
    tools, forced = _choice(fields, tools)
    sampling = read_sampling(fields, max_tokens=("max_completion_tokens", "max_tokens"))
    schema = read_response_format(fields)
    if schema is not None:
        sampling["json_schema"] = schema
    if forced and (schema or sampling["grammar"]):
        forced = None  # the form that is asked for goes first
    sampling["logprobs"] = _logprobs(fields)
    options = fields.object("stream_options")
    variables = fields.object("chat_template_kwargs")
    return ChatRequest(
        fields.text("model"),
        ChatInput(
            messages,
            tools,
            _documents(fields),
            variables.values if variables else None,
            False if forced else None,
            None if forced else fields.text("reasoning_effort", most=32),
        ),
        sampling,
        fields.whole("n", 1, MAX_REPLIES) or 1,
        fields.flag("stream"),
        options is not None and options.flag("include_usage"),
        forced,
        fields.flag("parallel_tool_calls", True),
    )


def read_content(
    fields: Fields, name: str = "content", *, remote_images: bool = False
) -> tuple[str, tuple[Picture, ...]]:
    """A message's text: a string, or a list of parts, which are texts and pictures. Texts are lines
    of their own, unless a picture is between them."""
    value = fields.values.get(name)
    if value is None or isinstance(value, str):
        return value or "", ()
    content, after_text = "", False
    pictures: list[Picture] = []
    for part in fields.objects(name, most=_MAX_PARTS):
        kind = part.text("type")
        text = None
        if kind in ("text", "input_text", "output_text"):
            text = part.text("text") or ""
        elif kind == "refusal":
            text = part.text("refusal") or ""
        elif kind in ("image_url", "input_image") and len(pictures) < MAX_PICTURES:
            where = part.object("image_url") if kind == "image_url" else None
            data = read_picture_url(
                *((where, "url") if where else (part, "image_url")), remote=remote_images
            )
            pictures.append(Picture(data, len(content)))
        else:
            raise RequestError(
                msg(
                    "{path}: parts of type {kind!r} cannot be read here",
                    path=part.path("type"),
                    kind=kind,
                ),
                param=part.path("type"),
                code="unsupported_content",
            )
        if text is not None:
            content += f"\n{text}" if after_text else text
        after_text = text is not None
    return content, tuple(pictures)


def read_tools(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    found = []
    for tool in fields.objects("tools", most=_MAX_TOOLS):
        kind = tool.text("type")
        function = tool.object("function")
        if kind not in (None, "function") or function is None:
            tool.refuse("type", "function, with a field of that name")
        found.append(_function(function))
    return tuple(found)


def _function(function: Fields) -> dict[str, Any]:
    name = function.require("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        function.refuse("name", "letters, digits, _ and -, at most 256")
    function.schema("parameters")
    described: dict[str, Any] = {
        "name": name,
        "description": function.text("description", most=1 << 18) or "",
        "parameters": function.values.get("parameters") or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": described}


def _choice(
    fields: Fields, tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], ForcedCall | None]:
    """The tools that the model is told of, and whether it has to call one."""
    choice = fields.values.get("tool_choice")
    if choice is None or choice == "auto":
        return tools, None
    if choice == "none":
        return (), None
    if choice == "required":
        if not tools:
            fields.refuse("tool_choice", "auto or none where there are no tools")
        return tools, ForcedCall(tools)
    named = fields.object("tool_choice") if isinstance(choice, dict) else None
    function = named and named.object("function")
    if function is None:
        fields.refuse("tool_choice", "none, auto, required, or a function")
    chosen = [tool for tool in tools if tool["function"]["name"] == function.text("name")]
    if not chosen:
        fields.refuse("tool_choice", "one of the tools")
    return tools, ForcedCall(chosen)


def _message(fields: Fields, remote_images: bool) -> ChatMessage:
    role = fields.require("role")
    if not isinstance(role, str) or role not in _ROLES:
        fields.refuse("role", f"one of {', '.join(_ROLES)}")
    content, pictures = read_content(fields, remote_images=remote_images)
    message = ChatMessage(_ROLES[role], content, pictures=pictures)
    if message.role == "assistant":
        calls = [_call(one) for one in fields.objects("tool_calls", most=_MAX_CALLS)]
        reasoning = fields.text("reasoning_content") or fields.text("reasoning") or ""
        return replace(message, tool_calls=tuple(calls), reasoning=reasoning)
    if message.role == "tool":
        id_ = fields.text("tool_call_id", most=256) or ""
        return replace(message, tool_call_id=id_, name=fields.text("name", most=256) or "")
    return message


def _call(fields: Fields) -> ToolCall:
    function = fields.object("function")
    if function is None:
        fields.require("function")
        raise AssertionError
    arguments = function.values.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        function.refuse("arguments", "the text of a JSON object")
    name = function.text("name", most=256) or ""
    return ToolCall(name, arguments or "{}", fields.text("id", most=256) or "")


def _documents(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"title": one.text("title") or "", "text": one.text("text") or ""}
        for one in fields.objects("documents", most=_MAX_PARTS)
    )


def _logprobs(fields: Fields) -> int | None:
    top = fields.whole("top_logprobs", 0, _TOP_LOGPROBS)
    if not fields.flag("logprobs"):
        if top:
            fields.refuse("logprobs", "true where top_logprobs is given")
        return None
    return top or 0
