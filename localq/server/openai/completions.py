"""/v1/completions: texts that are gone on with, without a chat template."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from localq.chat_format.reply import ContentText
from localq.engine.client import Generation
from localq.messages import msg
from localq.server.asking import ask, replies, whole_replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.failure import RequestError
from localq.server.fields import Fields
from localq.server.openai.form import finish_reason, new_id, text_logprobs, usage
from localq.server.openai.sampling import MAX_REPLIES, read_response_format, read_sampling
from localq.server.running import Running
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.fill_in import FillIn
from localq.services.serving.replying import Replied, Step, TextPrompt, continue_texts

__all__ = ["Prompt", "completions", "read_inputs"]

Prompt: TypeAlias = str | list[int]

_MAX_PROMPTS = 64
_MAX_TOKENS = 1 << 24
_MAX_ID = 2**31 - 1
_DEFAULT_TOKENS = 16
"""OpenAI's."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str | None
    prompts: Sequence[TextPrompt]
    sampling: Mapping[str, Any]
    count: int
    echo: bool
    stream: bool
    include_usage: bool


def completions(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = _read(await exchange.json())
        served = context.models.find(request.model)

        def work(
            model: HostedModel, cancel: threading.Event, put: Callable[[Replied], None]
        ) -> None:
            continue_texts(
                model,
                request.prompts,
                request.sampling,
                count=request.count,
                cancel=cancel,
                put=put,
            )

        head = {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.id,
        }
        if request.stream:
            async with exchange.patience(), ask(context, exchange, served, work) as running:
                await _stream(context, exchange, running, request, head)
        else:
            async with ask(context, exchange, served, work) as running:
                document = await _whole(context, exchange, running, request, head)
            await exchange.reply(document)

    return handle


def read_inputs(fields: Fields, name: str, *, most: int) -> list[Prompt]:
    """A text, texts, the tokens of one, or of several. RequestError."""
    value = fields.require(name)
    if isinstance(value, str):
        return [value]
    values = fields.items(name, most=_MAX_TOKENS) or []
    if values and all(isinstance(one, int) for one in values):
        values = [values]
    if not 1 <= len(values) <= most:
        fields.refuse(name, f"a text, or a list of 1 to {most:,}")
    for index, one in enumerate(values):
        if isinstance(one, str):
            continue
        if not isinstance(one, list) or not one or not all(_is_token(token) for token in one):
            fields.refuse(f"{name}[{index}]", "a text, or a list of tokens")
    return values


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID


def _read(fields: Fields) -> CompletionRequest:
    prompts = read_inputs(fields, "prompt", most=_MAX_PROMPTS)
    count = fields.whole("n", 1, MAX_REPLIES) or 1
    if len(prompts) * count > _MAX_PROMPTS:
        fields.refuse("n", f"so that there are at most {_MAX_PROMPTS} replies")
    if (fields.whole("best_of", 1, 128) or count) > count:
        raise _unsupported("best_of")
    sampling = read_sampling(fields, max_tokens=("max_tokens",))
    if sampling["max_tokens"] is None:
        sampling["max_tokens"] = _DEFAULT_TOKENS
    if (schema := read_response_format(fields)) is not None:
        sampling["json_schema"] = schema
    sampling["logprobs"] = fields.whole("logprobs", 0, 20)
    echo = fields.flag("echo")
    if echo and (sampling["logprobs"] is not None or not all(isinstance(p, str) for p in prompts)):
        raise _unsupported("echo")
    options = fields.object("stream_options")
    suffix = fields.text("suffix")
    return CompletionRequest(
        fields.text("model"),
        [FillIn(p, suffix) if suffix and isinstance(p, str) else p for p in prompts],
        sampling,
        count,
        echo,
        fields.flag("stream"),
        options is not None and options.flag("include_usage"),
    )


def _unsupported(name: str) -> RequestError:
    return RequestError(
        msg("{name} cannot be done for this request", name=name), param=name, code="unsupported"
    )


def _echoed(request: CompletionRequest, index: int) -> str:
    prompt = request.prompts[index // request.count]
    return prompt if request.echo and isinstance(prompt, str) else ""


async def _whole(
    context: ServerContext,
    exchange: Exchange,
    running: Running[Replied],
    request: CompletionRequest,
    head: dict[str, Any],
) -> dict[str, Any]:
    ended, logprobs = await whole_replies(context, exchange, running)
    wanted = request.sampling["logprobs"] is not None
    choices = [
        {
            "index": index,
            "text": _echoed(request, index) + ended[index].message.content,
            "logprobs": text_logprobs(logprobs.get(index, ()), 0) if wanted else None,
            "finish_reason": finish_reason(ended[index].generation.stop),
        }
        for index in sorted(ended)
    ]
    done = [ended[index].generation for index in sorted(ended)]
    return {**head, "choices": choices, "usage": usage(done, request.count)}


async def _stream(
    context: ServerContext,
    exchange: Exchange,
    running: Running[Replied],
    request: CompletionRequest,
    head: dict[str, Any],
) -> None:
    written: dict[int, int] = {}
    done: dict[int, Generation] = {}
    async for one in replies(context, exchange, running):
        await exchange.open_stream()
        echoed = "" if one.index in written else _echoed(request, one.index)
        offset = written.setdefault(one.index, 0)
        known, reason = None, None
        text = echoed
        if isinstance(one, Step):
            text += "".join(e.text for e in one.events if isinstance(e, ContentText))
            known = text_logprobs(one.logprobs, offset) if one.logprobs else None
            written[one.index] += sum(map(len, known["tokens"])) if known else 0
        else:
            done[one.index] = one.generation
            reason = finish_reason(one.generation.stop)
        choice = {"index": one.index, "text": text, "logprobs": known, "finish_reason": reason}
        usages = {"usage": None} if request.include_usage else {}
        await exchange.send_event({**head, "choices": [choice], **usages})
    if request.include_usage:
        counted = usage([done[index] for index in sorted(done)], request.count)
        await exchange.send_event({**head, "choices": [], "usage": counted})
    await exchange.send_text("data: [DONE]\n\n")
    await exchange.close_stream()
