"""/api/chat and /api/generate: lines of JSON, the last of which says how long it took."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.reply import CallMade, ContentText, Event, ReasoningText
from localq.server.asking import ask, chat_work, replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.failure import Failure
from localq.server.fields import Fields
from localq.server.ollama.requests import OllamaRequest, read_chat, read_generate
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.replying import Ended, Replied, continue_texts

__all__ = ["chat", "error_form", "generate"]

_LINES = "application/x-ndjson"


def error_form(failure: Failure) -> tuple[object, str | None]:
    return {"error": failure.message}, "line"


def chat(context: ServerContext) -> Handler:
    return _handler(context, read_chat, _chat_part)


def generate(context: ServerContext) -> Handler:
    return _handler(context, read_generate, _text_part)


_Part = Callable[[str, str, Sequence[ToolCall]], dict[str, Any]]
"""What is said, thought, and called, as a part of an answer."""


def _handler(
    context: ServerContext, read: Callable[[Fields], OllamaRequest], part: _Part
) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = read(await exchange.json())
        served = context.models.find(request.model)

        def work(
            model: HostedModel, cancel: threading.Event, put: Callable[[Replied], None]
        ) -> None:
            if request.prompt is not None:
                continue_texts(model, [request.prompt], request.sampling, cancel=cancel, put=put)
            elif request.chat.messages:
                chat_work(context, request.chat, request.sampling)(model, cancel, put)

        head = {"model": served.id}
        last = {**part("", "", ()), "done": True, "done_reason": "load"}
        async with ask(context, exchange, served, work) as running:
            async for one in replies(context, exchange, running):
                if isinstance(one, Ended):
                    told = ChatMessage("assistant", "") if request.stream else one.message
                    said = part(told.content, told.reasoning, told.tool_calls)
                    last = {**said, **_figures(exchange, one)}
                elif request.stream and one.events:
                    await exchange.open_stream(_LINES)
                    document = {**head, "created_at": _now(), **part(*_parts(one.events))}
                    await exchange.send_line({**document, "done": False})
        last = {**head, "created_at": _now(), **last}
        if request.stream:
            await exchange.open_stream(_LINES)
            await exchange.send_line(last)
            await exchange.close_stream()
        else:
            await exchange.reply(last)

    return handle


def _parts(events: Sequence[Event]) -> tuple[str, str, list[ToolCall]]:
    said = "".join(one.text for one in events if isinstance(one, ContentText))
    thought = "".join(one.text for one in events if isinstance(one, ReasoningText))
    return said, thought, [one.call for one in events if isinstance(one, CallMade)]


def _chat_part(said: str, thought: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if thought:
        message["thinking"] = thought
    if calls:
        message["tool_calls"] = [
            {"function": {"name": call.name, "arguments": json.loads(call.arguments)}}
            for call in calls
        ]
    return {"message": message}


def _text_part(said: str, thought: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"response": said, **({"thinking": thought} if thought else {})}


def _figures(exchange: Exchange, ended: Ended) -> dict[str, Any]:
    """Times are nanoseconds."""
    done = ended.generation
    total = time.monotonic() - exchange.began
    loading = max(0.0, total - done.prompt_seconds - done.generate_seconds)
    return {
        "done": True,
        "done_reason": "length" if done.stop in ("length", "context") else "stop",
        "total_duration": round(total * 1e9),
        "load_duration": round(loading * 1e9),
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": round(done.prompt_seconds * 1e9),
        "eval_count": done.generated_tokens,
        "eval_duration": round(done.generate_seconds * 1e9),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
