"""/v1/chat/completions"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from localq.chat_format.reply import CallMade, ContentText, ReasoningText
from localq.engine.client import Generation
from localq.server.asking import ask, chat_work, replies, whole_replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.openai.chat_request import ChatRequest, read_chat
from localq.server.openai.form import chat_logprobs, finish_reason, new_id, tool_call, usage
from localq.server.running import Running
from localq.services.serving.replying import Ended, Replied, Step

__all__ = ["chat_completions"]


def chat_completions(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = await asyncio.to_thread(
            read_chat, await exchange.json(), remote_images=context.settings.remote_images
        )
        served = context.models.find(request.model)
        work = chat_work(
            context, request.chat, request.sampling, count=request.count, forced=request.forced
        )

        head = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": served.id}
        if request.stream:
            async with exchange.patience(), ask(context, exchange, served, work) as running:
                await _stream(context, exchange, running, request, head)
        else:
            async with ask(context, exchange, served, work) as running:
                document = await _whole(context, exchange, running, request, head)
            await exchange.reply(document)

    return handle


async def _whole(
    context: ServerContext,
    exchange: Exchange,
    running: Running[Replied],
    request: ChatRequest,
    head: dict[str, Any],
) -> dict[str, Any]:
    ended, logprobs = await whole_replies(context, exchange, running)
    choices = []
    for index in range(request.count):
        message = ended[index].message
        calls = message.tool_calls if request.parallel else message.tool_calls[:1]
        said: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
        if message.reasoning:
            said["reasoning_content"] = message.reasoning
        if calls:
            said["content"] = message.content or None
            said["tool_calls"] = [tool_call(call) for call in calls]
        known = chat_logprobs(logprobs.get(index, ()))
        choices.append(
            {
                "index": index,
                "message": said,
                "logprobs": known if request.sampling["logprobs"] is not None else None,
                "finish_reason": finish_reason(ended[index].generation.stop, bool(calls)),
            }
        )
    done = [ended[index].generation for index in range(request.count)]
    return {
        **head,
        "object": "chat.completion",
        "choices": choices,
        "usage": usage(done, request.count),
        "system_fingerprint": None,
    }


async def _stream(
    context: ServerContext,
    exchange: Exchange,
    running: Running[Replied],
    request: ChatRequest,
    head: dict[str, Any],
) -> None:
    begun: set[int] = set()
    calls = dict.fromkeys(range(request.count), 0)
    done: list[Generation] = []

    async def chunk(
        index: int,
        delta: dict[str, Any],
        reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> None:
        if index not in begun:
            begun.add(index)
            delta = {"role": "assistant", "content": "", **delta}
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        document = {**head, "object": "chat.completion.chunk", "choices": [choice]}
        if request.include_usage:
            document["usage"] = None
        await exchange.send_event(document)

    async for one in replies(context, exchange, running):
        await exchange.open_stream()
        if isinstance(one, Ended):
            done.append(one.generation)
            reason = finish_reason(one.generation.stop, bool(calls[one.index]))
            await chunk(one.index, {}, reason)
            continue
        for delta, known in _deltas(one, request, calls):
            await chunk(one.index, delta, logprobs=known)
    if request.include_usage:
        document = {**head, "object": "chat.completion.chunk", "choices": []}
        await exchange.send_event({**document, "usage": usage(done, request.count)})
    await exchange.send_text("data: [DONE]\n\n")
    await exchange.close_stream()


def _deltas(
    step: Step, request: ChatRequest, calls: dict[int, int]
) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """What a step adds, the log probabilities with the first of it."""
    deltas: list[dict[str, Any]] = []
    for event in step.events:
        match event:
            case ContentText(text):
                deltas.append({"content": text})
            case ReasoningText(text):
                deltas.append({"reasoning_content": text})
            case CallMade(_, call):
                number = calls[step.index]
                if number and not request.parallel:
                    continue
                calls[step.index] += 1
                deltas.append({"tool_calls": [{"index": number, **tool_call(call)}]})
    known = chat_logprobs(step.logprobs) if step.logprobs else None
    if known and not deltas:
        deltas.append({})
    return [(delta, known if i == 0 else None) for i, delta in enumerate(deltas)]
