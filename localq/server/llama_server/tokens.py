"""/tokenize, /detokenize and /apply-template"""

from __future__ import annotations

import threading

from localq.server.asking import compute
from localq.server.context import ServerContext
from localq.server.exchange import Exchange, Handler
from localq.server.openai.chat_request import read_chat
from localq.server.openai.completions import read_inputs
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.generating import check_tokens

__all__ = ["apply_template", "detokenize", "tokenize"]

_MAX_TEXT = 8 << 20


def tokenize(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        fields.require("content")
        text = fields.text("content", most=_MAX_TEXT) or ""
        add_special = fields.flag("add_special")
        parse_special = fields.flag("parse_special", True)
        with_pieces = fields.flag("with_pieces")

        def work(model: HostedModel, cancel: threading.Event) -> list[object]:
            tokens = model.tokenize(text, add_special=add_special, parse_special=parse_special)
            if not with_pieces:
                return list(tokens)
            pieces = model.request(lambda engine: [engine.detokenize([t]) for t in tokens])
            return [{"id": t, "piece": p} for t, p in zip(tokens, pieces, strict=True)]

        served = context.models.find(fields.text("model"))
        await exchange.reply({"tokens": await compute(context, exchange, served, work)})

    return handle


def detokenize(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        fields = await exchange.json()
        tokens: list[int] = []
        if fields.values.get("tokens") != []:
            (one,) = read_inputs(fields, "tokens", most=1)
            if isinstance(one, str):
                fields.refuse("tokens", "a list of tokens")
            tokens = one

        def work(model: HostedModel, cancel: threading.Event) -> str:
            check_tokens(model, tokens)
            return model.request(lambda engine: engine.detokenize(tokens))

        served = context.models.find(fields.text("model"))
        await exchange.reply({"content": await compute(context, exchange, served, work)})

    return handle


def apply_template(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        request = read_chat(await exchange.json())

        def work(model: HostedModel, cancel: threading.Event) -> str:
            return context.templates.render(model.metadata, request.chat)[0]

        served = context.models.find(request.model)
        await exchange.reply({"prompt": await compute(context, exchange, served, work)})

    return handle
