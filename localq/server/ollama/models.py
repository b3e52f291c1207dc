"""/api/tags, /api/show, /api/ps, /api/version and /api/embed"""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import Any

from localq.chat_format.choose_template import own_templates
from localq.display import short_count
from localq.engine.embedding_requests import MAX_TEXTS
from localq.engine.embedding_result import Embedding
from localq.server.asking import compute
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.served_models import ServedModel
from localq.version import __version__

__all__ = ["embed", "ps", "show", "tags", "version"]


def version(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.reply({"version": __version__})

    return handle


def tags(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.reply({"models": [_entry(one) for one in context.models.listed()]})

    return handle


def ps(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        loaded = {model.path: model for model in context.models.loaded() if model.memory_bytes}
        found = []
        for one in context.models.listed():
            if model := loaded.get(str(one.model.path)):
                until = _time(model.unload_at) if model.unload_at else "9999-12-31T00:00:00Z"
                n_ctx = model.loaded.n_ctx if model.loaded else 0
                found.append({**_entry(one), "expires_at": until, "context_length": n_ctx})
        await exchange.reply({"models": found})

    return handle


def show(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        served = context.models.find(fields.text("model") or fields.text("name"))

        def work(model: HostedModel, cancel: threading.Event) -> dict[str, Any]:
            metadata = model.metadata
            own = own_templates(metadata)
            template = own.get("", "")
            capabilities = ["completion"]
            if "tools" in template or "tool_use" in own:
                capabilities.append("tools")
            if "tokenizer.ggml.fim_pre_token_id" in metadata:
                capabilities.append("insert")
            if model.can_see:
                capabilities.append("vision")
            if "</think>" in template:
                capabilities.append("thinking")
            plain = {
                name: value
                for name, value in metadata.items()
                if isinstance(value, str | int | float) and not name.startswith("tokenizer.chat")
            }
            return {
                "template": template,
                "details": _details(served),
                "model_info": plain,
                "capabilities": capabilities,
                "modified_at": _time(served.model.created_at),
            }

        await exchange.reply(await compute(context, exchange, served, work))

    return handle


def embed(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        fields.require("input")
        inputs = fields.texts("input", most=MAX_TEXTS)
        truncate = fields.flag("truncate", True)
        dimensions = fields.whole("dimensions", 1, 1 << 20)
        served = context.models.find(fields.text("model"))
        if not inputs:
            await exchange.reply({"model": served.id, "embeddings": []})
            return

        def work(model: HostedModel, cancel: threading.Event) -> Embedding:
            return model.embed(inputs, truncate=truncate, dimensions=dimensions, cancel=cancel)

        done = await compute(context, exchange, served, work)
        count = sum(text.tokens for text in done.texts)
        exchange.noted.prompt_tokens = count
        vectors = [[float(f"{value:.9g}") for value in text.values] for text in done.texts]
        document = {"model": served.id, "embeddings": vectors, "prompt_eval_count": count}
        await exchange.reply(document)

    return handle


def _entry(served: ServedModel) -> dict[str, Any]:
    """`digest` tells a file from others of its name; it is not its hash."""
    model = served.model
    known = f"{served.id}\n{model.size_bytes}\n{model.created_at}"
    return {
        "name": served.id,
        "model": served.id,
        "modified_at": _time(model.created_at),
        "size": model.size_bytes,
        "digest": hashlib.sha256(known.encode()).hexdigest(),
        "details": _details(served),
    }


def _details(served: ServedModel) -> dict[str, Any]:
    model = served.model
    return {
        "format": "gguf",
        "family": model.architecture,
        "families": [model.architecture],
        "parameter_size": short_count(model.parameters),
        "quantization_level": model.quant,
        "parent_model": "",
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
