"""/v1/rerank, as Jina's API has it."""

from __future__ import annotations

import threading
from math import inf, isfinite
from typing import Any

from localq.engine.embedding_requests import MAX_TEXTS
from localq.server.asking import compute
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.fields import Fields
from localq.services.hosting.hosted import HostedModel

__all__ = ["rerank"]


def rerank(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        fields.require("query")
        query = fields.text("query") or ""
        documents = _documents(fields)
        top = fields.whole("top_n", 0, 1 << 30)
        shown = fields.flag("return_documents")
        served = context.models.find(fields.text("model"))

        def work(model: HostedModel, cancel: threading.Event) -> tuple[float, ...]:
            return model.rank(query, documents, cancel=cancel)

        scores = await compute(context, exchange, served, work)
        order = sorted(
            range(len(scores)), key=lambda index: -scores[index] if isfinite(scores[index]) else inf
        )
        results: list[dict[str, Any]] = []
        for index in order[: top or None]:
            score = scores[index] if isfinite(scores[index]) else None
            result: dict[str, Any] = {"index": index, "relevance_score": score}
            if shown:
                result["document"] = {"text": documents[index]}
            results.append(result)
        await exchange.reply({"object": "list", "model": served.id, "results": results})

    return handle


def _documents(fields: Fields) -> list[str]:
    """Texts, or objects with a text."""
    found = []
    name = "documents" if "documents" in fields else "texts"
    fields.require(name)
    for index, one in enumerate(fields.items(name, most=MAX_TEXTS) or ()):
        text = one.get("text") if isinstance(one, dict) else one
        if not isinstance(text, str):
            fields.refuse(f"{name}[{index}]", "a text")
        found.append(text)
    if not found:
        fields.refuse(name, "a list with at least one text")
    return found
