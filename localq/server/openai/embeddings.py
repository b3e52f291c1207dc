"""/v1/embeddings"""

from __future__ import annotations

import base64
import sys
import threading
from array import array
from typing import Any

from localq.engine.embedding_requests import MAX_TEXTS
from localq.engine.embedding_result import Embedding
from localq.server.asking import compute
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.openai.completions import read_inputs
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.generating import check_tokens

__all__ = ["embeddings"]


def embeddings(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        inputs = read_inputs(fields, "input", most=MAX_TEXTS)
        dimensions = fields.whole("dimensions", 1, 1 << 20)
        encoding = fields.choice("encoding_format", ("float", "base64"))
        served = context.models.find(fields.text("model"))

        def work(model: HostedModel, cancel: threading.Event) -> Embedding:
            for one in inputs:
                if not isinstance(one, str):
                    check_tokens(model, one)
            return model.embed(inputs, dimensions=dimensions, cancel=cancel)

        embedding = await compute(context, exchange, served, work)
        count = sum(text.tokens for text in embedding.texts)
        exchange.noted.prompt_tokens = count
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(text.values, encoding)}
            for index, text in enumerate(embedding.texts)
        ]
        usage = {"prompt_tokens": count, "total_tokens": count}
        await exchange.reply({"object": "list", "data": data, "model": served.id, "usage": usage})

    return handle


def _encoded(values: array[float], encoding: str | None) -> Any:
    """Numbers, or little-endian float32 in base64."""
    if encoding != "base64":
        return [float(f"{value:.9g}") for value in values]
    if sys.byteorder == "big":
        values = array("f", values)
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode("ascii")
