"""/v1/models"""

from __future__ import annotations

from typing import Any

from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.services.serving.served_models import ServedModel

__all__ = ["list_models", "one_model"]


def list_models(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        data = [_document(context, one) for one in context.models.listed()]
        await exchange.reply({"object": "list", "data": data})

    return handle


def one_model(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        name = str(exchange.scope["path_params"]["model"])
        await exchange.reply(_document(context, context.models.find(name)))

    return handle


def _document(context: ServerContext, served: ServedModel) -> dict[str, Any]:
    """`meta` is llama-server's: what is known of the file, and of the context while loaded."""
    model = served.model
    loaded = next((m for m in context.models.loaded() if m.path == str(model.path)), None)
    meta: dict[str, Any] = {"n_params": model.parameters, "size": model.size_bytes}
    if loaded and loaded.loaded:
        meta["n_ctx"] = loaded.loaded.n_ctx
        meta["n_ctx_train"] = loaded.loaded.n_ctx_train
        meta["n_vocab"] = loaded.loaded.n_vocab
    return {
        "id": served.id,
        "object": "model",
        "created": int(model.created_at),
        "owned_by": "localq",
        "meta": meta,
        "status": {"value": loaded.state if loaded else "unloaded"},
    }
