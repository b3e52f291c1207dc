"""/infill: the text between two others, as editors complete code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from localq.chat_format.reply import ContentText
from localq.server.asking import ask, replies
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.fields import Fields
from localq.server.openai.sampling import read_sampling
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.fill_in import FillIn
from localq.services.serving.replying import Ended, Replied, continue_texts

__all__ = ["infill"]

_MAX_FILES = 256
_STOPS = {"eos": "eos", "stop": "word", "length": "limit", "context": "limit"}


def infill(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        fill = _read(fields)
        sampling = read_sampling(fields, max_tokens=("n_predict", "max_tokens"))
        served = context.models.find(fields.text("model"))
        stream = fields.flag("stream")

        def work(
            model: HostedModel, cancel: threading.Event, put: Callable[[Replied], None]
        ) -> None:
            continue_texts(model, [fill], sampling, cancel=cancel, put=put)

        last: dict[str, Any] = {}
        async with ask(context, exchange, served, work) as running:
            async for one in replies(context, exchange, running):
                if isinstance(one, Ended):
                    last = _final(one, served.id)
                elif stream:
                    await exchange.open_stream()
                    text = "".join(e.text for e in one.events if isinstance(e, ContentText))
                    await exchange.send_event({"content": text, "stop": False})
        if stream:
            await exchange.open_stream()
            await exchange.send_event({**last, "content": ""})
            await exchange.close_stream()
        else:
            await exchange.reply(last)

    return handle


def _read(fields: Fields) -> FillIn:
    files = [
        (one.text("filename", most=4096) or "", one.text("text") or "")
        for one in fields.objects("input_extra", most=_MAX_FILES)
    ]
    return FillIn(
        fields.text("input_prefix") or "",
        fields.text("input_suffix") or "",
        fields.text("prompt") or "",
        files,
    )


def _final(ended: Ended, model: str) -> dict[str, Any]:
    done = ended.generation
    seconds = done.generate_seconds
    return {
        "content": done.text,
        "stop": True,
        "stop_type": _STOPS.get(done.stop, "none"),
        "model": model,
        "tokens_predicted": done.generated_tokens,
        "tokens_evaluated": done.prompt_tokens,
        "tokens_cached": done.reused_tokens,
        "timings": {
            "prompt_n": done.prompt_tokens - done.reused_tokens,
            "prompt_ms": done.prompt_seconds * 1000,
            "predicted_n": done.generated_tokens,
            "predicted_ms": seconds * 1000,
            "predicted_per_second": done.generated_tokens / seconds if seconds else None,
            "draft_n": done.draft_tokens,
            "draft_n_accepted": done.accepted_tokens,
        },
    }
