"""/props, /slots and /metrics: what is loaded, and how busy it is."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs

from localq.chat_format.choose_template import own_templates, special_token
from localq.server.asking import compute
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.metrics import exposition
from localq.services.hosting.hosted import HostedModel

__all__ = ["metrics", "props", "slots"]


def props(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        name = parse_qs(exchange.query).get("model", [None])[0]
        served = context.models.find(name)

        def work(model: HostedModel, cancel: threading.Event) -> dict[str, Any]:
            loaded, metadata = model.loaded, model.metadata
            return {
                "default_generation_settings": {"n_ctx": loaded.n_ctx, "params": {}},
                "total_slots": loaded.n_seq_max,
                "model_alias": served.id,
                "model_path": served.id,  # where its file lies is no client's business
                "chat_template": own_templates(metadata).get("", ""),
                "bos_token": special_token(metadata, "bos"),
                "eos_token": special_token(metadata, "eos"),
                "modalities": {"vision": model.can_see, "audio": False},
                "build_info": loaded.build,
            }

        await exchange.reply(await compute(context, exchange, served, work))

    return handle


def slots(context: ServerContext) -> Handler:
    """Of all models that are loaded. What is said in them is not told."""

    async def handle(exchange: Exchange) -> None:
        found: list[dict[str, Any]] = []
        for model in context.models.loaded():
            n_ctx = model.loaded.n_ctx if model.loaded else 0
            found += [
                {
                    "id": number,
                    "model": model.name,
                    "n_ctx": n_ctx,
                    "is_processing": number < model.running,
                }
                for number in range(model.slots)
            ]
        await exchange.reply(found)

    return handle


def metrics(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        loaded = context.models.loaded()
        gauges = {
            "requests_processing": ("Requests that have their turn.", context.gates.running),
            "requests_deferred": ("Requests that wait for it.", context.gates.waiting),
            "models_loaded": ("Models that are loaded.", sum(m.memory_bytes > 0 for m in loaded)),
            "memory_bytes": (
                "Memory that is planned for them.",
                sum(m.memory_bytes for m in loaded),
            ),
        }
        text = exposition(context.metrics, gauges)
        await exchange.reply_bytes(text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    return handle
