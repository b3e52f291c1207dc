"""/v1/responses"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from localq.chat_format.message import ToolCall
from localq.chat_format.reply import CallMade, ContentText, ReasoningText
from localq.engine.client import Generation
from localq.server.asking import ask, chat_work, replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.openai.responses_request import ResponsesRequest, read_responses
from localq.server.running import Running
from localq.services.serving.replying import Ended, Replied

__all__ = ["responses"]


def responses(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = await asyncio.to_thread(
            read_responses, await exchange.json(), remote_images=context.settings.remote_images
        )
        served = context.models.find(request.model)
        work = chat_work(context, request.chat, request.sampling, forced=request.forced)
        writer = _Writer(exchange, request, served.id)
        if request.stream:
            async with exchange.patience(), ask(context, exchange, served, work) as running:
                await writer.run(context, running)
                await exchange.close_stream()
        else:
            async with ask(context, exchange, served, work) as running:
                await writer.run(context, running)
            await exchange.reply(writer.document)

    return handle


class _Writer:
    """Puts the response together item by item; where it is streamed, each step is an event."""

    def __init__(self, exchange: Exchange, request: ResponsesRequest, model: str) -> None:
        self._exchange = exchange
        self._stream = request.stream
        self._number = 0
        self._item: dict[str, Any] | None = None
        """The one that grows."""
        self._text = ""
        self.document: dict[str, Any] = {
            "id": f"resp_{secrets.token_hex(16)}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "model": model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            **request.echoed,
            "tools": request.echoed.get("tools") or [],
            "usage": None,
        }

    async def run(self, context: ServerContext, running: Running[Replied]) -> None:
        async for one in replies(context, self._exchange, running):
            await self._begin()
            if isinstance(one, Ended):
                await self._finish(one.generation)
                continue
            for event in one.events:
                match event:
                    case ContentText(text):
                        await self._grow("message", text)
                    case ReasoningText(text):
                        await self._grow("reasoning", text)
                    case CallMade(_, call):
                        await self._call(call)

    async def _send(self, kind: str, **values: Any) -> None:
        if self._stream:
            event = {"type": kind, "sequence_number": self._number, **values}
            self._number += 1
            await self._exchange.send_event(event, kind)

    async def _begin(self) -> None:
        if self._number or not self._stream:
            return
        await self._exchange.open_stream()
        await self._send("response.created", response=self.document)
        await self._send("response.in_progress", response=self.document)

    @property
    def _place(self) -> dict[str, Any]:
        assert self._item
        return {"item_id": self._item["id"], "output_index": len(self.document["output"])}

    async def _open(self, item: dict[str, Any]) -> None:
        await self._close()
        self._item, self._text = item, ""
        index = len(self.document["output"])
        await self._send("response.output_item.added", output_index=index, item=item)

    async def _grow(self, kind: str, text: str) -> None:
        if self._item is None or self._item["type"] != kind:
            if kind == "message":
                await self._open(
                    {
                        "id": f"msg_{secrets.token_hex(12)}",
                        "type": "message",
                        "status": "in_progress",
                        "role": "assistant",
                        "content": [],
                    }
                )
                await self._send(
                    "response.content_part.added", **self._place, content_index=0, part=_part("")
                )
            else:
                id_ = f"rs_{secrets.token_hex(12)}"
                await self._open({"id": id_, "type": "reasoning", "summary": [], "content": []})
        self._text += text
        name = "output_text" if kind == "message" else "reasoning_text"
        extra: dict[str, Any] = {"logprobs": []} if kind == "message" else {}
        await self._send(
            f"response.{name}.delta", **self._place, content_index=0, delta=text, **extra
        )

    async def _call(self, call: ToolCall) -> None:
        item = {
            "id": f"fc_{secrets.token_hex(12)}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call.id if call.id.startswith("call_") else f"call_{call.id}",
            "name": call.name,
            "arguments": "",
        }
        await self._open(item)
        await self._send(
            "response.function_call_arguments.delta", **self._place, delta=call.arguments
        )
        await self._send(
            "response.function_call_arguments.done",
            **self._place,
            name=call.name,
            arguments=call.arguments,
        )
        self._text = call.arguments
        await self._close()

    async def _close(self) -> None:
        """The item is whole."""
        if self._item is None:
            return
        item, place = self._item, self._place
        match item["type"]:
            case "message":
                part = _part(self._text)
                await self._send(
                    "response.output_text.done",
                    **place,
                    content_index=0,
                    text=self._text,
                    logprobs=[],
                )
                await self._send("response.content_part.done", **place, content_index=0, part=part)
                item = {**item, "status": "completed", "content": [part]}
            case "reasoning":
                await self._send(
                    "response.reasoning_text.done", **place, content_index=0, text=self._text
                )
                item = {**item, "content": [{"type": "reasoning_text", "text": self._text}]}
            case _:
                item = {**item, "status": "completed", "arguments": self._text}
        index = len(self.document["output"])
        await self._send("response.output_item.done", output_index=index, item=item)
        self.document["output"].append(item)
        self._item = None

    async def _finish(self, done: Generation) -> None:
        await self._close()
        cut = done.stop in ("length", "context")
        self.document["status"] = "incomplete" if cut else "completed"
        if cut:
            self.document["incomplete_details"] = {"reason": "max_output_tokens"}
        self.document["usage"] = {
            "input_tokens": done.prompt_tokens,
            "input_tokens_details": {"cached_tokens": done.reused_tokens},
            "output_tokens": done.generated_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": done.prompt_tokens + done.generated_tokens,
        }
        kind = "response.incomplete" if cut else "response.completed"
        await self._send(kind, response=self.document)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
