"""/v1/messages and /v1/messages/count_tokens"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from typing import Any

from localq.chat_format.message import ToolCall
from localq.chat_format.reply import CallMade, ContentText, ReasoningText
from localq.engine.client import Generation
from localq.server.anthropic.messages_request import MessagesRequest, read_messages
from localq.server.asking import ask, chat_work, compute, replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.failure import Failure
from localq.server.running import Running
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.replying import Ended, Replied

__all__ = ["count_tokens", "error_form", "messages"]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_PING = 'event: ping\ndata: {"type": "ping"}\n\n'


def error_form(failure: Failure) -> tuple[object, str | None]:
    kind = _KINDS.get(failure.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": failure.message}}, "error"


def messages(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = await asyncio.to_thread(
            read_messages, await exchange.json(), remote_images=context.settings.remote_images
        )
        served = context.models.find(request.model)
        work = chat_work(context, request.chat, request.sampling, forced=request.forced)
        head = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": served.id,
        }
        if request.stream:
            async with exchange.patience(_PING), ask(context, exchange, served, work) as running:
                await _Stream(exchange, request, head).run(context, running)
            return
        async with ask(context, exchange, served, work) as running:
            async for one in replies(context, exchange, running):
                if isinstance(one, Ended):
                    ended = one
        message = ended.message
        calls = message.tool_calls if request.parallel else message.tool_calls[:1]
        content: list[dict[str, Any]] = []
        if message.reasoning:
            content.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
        if message.content or not calls:
            content.append({"type": "text", "text": message.content})
        content += [{**_tool_use(call), "input": json.loads(call.arguments)} for call in calls]
        reason, sequence = _stop(ended.generation, bool(calls))
        document = {**head, "content": content, "stop_reason": reason, "stop_sequence": sequence}
        await exchange.reply({**document, "usage": _usage(ended.generation)})

    return handle


def count_tokens(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = await asyncio.to_thread(
            read_messages,
            await exchange.json(),
            counting=True,
            remote_images=context.settings.remote_images,
        )
        served = context.models.find(request.model)

        def work(model: HostedModel, cancel: threading.Event) -> int:
            return len(context.templates.prompt(model, request.chat).tokens)

        await exchange.reply({"input_tokens": await compute(context, exchange, served, work)})

    return handle


class _Stream:
    """The events of a message, in the order that clients rely on: each block of the content is
    started, grows, and is stopped before the next one."""

    def __init__(self, exchange: Exchange, request: MessagesRequest, head: dict[str, Any]) -> None:
        self._exchange = exchange
        self._request = request
        self._head = head
        self._begun = False
        self._block = -1
        self._open = ""
        """The kind of the block that grows."""
        self._calls = 0

    async def run(self, context: ServerContext, running: Running[Replied]) -> None:
        async for one in replies(context, self._exchange, running):
            await self._begin()
            if isinstance(one, Ended):
                await self._end(one.generation)
                continue
            for event in one.events:
                match event:
                    case ContentText(text):
                        await self._grow("text", {"type": "text_delta", "text": text})
                    case ReasoningText(text):
                        delta = {"type": "thinking_delta", "thinking": text}
                        await self._grow("thinking", delta)
                    case CallMade(_, call):
                        await self._call(call)
        await self._exchange.close_stream()

    async def _send(self, kind: str, **values: Any) -> None:
        await self._exchange.send_event({"type": kind, **values}, kind)

    async def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        await self._exchange.open_stream()
        started: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {"input_tokens": 0, "output_tokens": 0}
        await self._send("message_start", message={**self._head, **started, "usage": usage})

    async def _grow(self, kind: str, delta: dict[str, Any]) -> None:
        if self._open != kind:
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            block = {"type": "text", "text": ""} if kind == "text" else empty
            await self._start(kind, block)
        await self._send("content_block_delta", index=self._block, delta=delta)

    async def _call(self, call: ToolCall) -> None:
        if self._calls and not self._request.parallel:
            return
        self._calls += 1
        await self._start("tool_use", {**_tool_use(call), "input": {}})
        delta = {"type": "input_json_delta", "partial_json": call.arguments}
        await self._send("content_block_delta", index=self._block, delta=delta)

    async def _start(self, kind: str, block: dict[str, Any]) -> None:
        await self._stop_block()
        self._block += 1
        self._open = kind
        await self._send("content_block_start", index=self._block, content_block=block)

    async def _stop_block(self) -> None:
        if self._open:
            await self._send("content_block_stop", index=self._block)
            self._open = ""

    async def _end(self, done: Generation) -> None:
        await self._stop_block()
        reason, sequence = _stop(done, bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        await self._send("message_delta", delta=delta, usage=_usage(done))
        await self._send("message_stop")


def _tool_use(call: ToolCall) -> dict[str, Any]:
    id_ = call.id if call.id.startswith("toolu_") else f"toolu_{call.id}"
    return {"type": "tool_use", "id": id_, "name": call.name}


def _stop(done: Generation, called: bool) -> tuple[str, str | None]:
    """Which of several stop sequences it was is not known to the engine's client."""
    if called:
        return "tool_use", None
    reasons = {"length": "max_tokens", "context": "max_tokens", "stop": "stop_sequence"}
    return reasons.get(done.stop, "end_turn"), None


def _usage(done: Generation) -> dict[str, int]:
    return {
        "input_tokens": done.prompt_tokens - done.reused_tokens,
        "cache_read_input_tokens": done.reused_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": done.generated_tokens,
    }
