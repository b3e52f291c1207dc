"""All paths, and who answers them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from localq.messages import msg
from localq.server.anthropic.messages import count_tokens, messages
from localq.server.anthropic.messages import error_form as anthropic_error
from localq.server.context import ServerContext
from localq.server.endpoint import Endpoint, ErrorForm
from localq.server.exchange import Exchange, Handler
from localq.server.failure import RequestError
from localq.server.guard import Guard
from localq.server.llama_server.infill import infill
from localq.server.llama_server.rerank import rerank
from localq.server.llama_server.state import metrics, props, slots
from localq.server.llama_server.tokens import apply_template, detokenize, tokenize
from localq.server.ollama import models as ollama
from localq.server.ollama.talk import chat, generate
from localq.server.ollama.talk import error_form as ollama_error
from localq.server.openai import form as openai
from localq.server.openai.chat import chat_completions
from localq.server.openai.completions import completions
from localq.server.openai.embeddings import embeddings
from localq.server.openai.models import list_models, one_model
from localq.server.openai.responses import responses
from localq.version import __version__

__all__ = ["make_app"]

_Make = Callable[[ServerContext], Handler]


def make_app(context: ServerContext) -> ASGIApp:
    """The application, behind its guard."""
    limits = context.settings.limits

    def route(path: str, method: str, make: _Make, form: ErrorForm = openai.error_form) -> Route:
        # Starlette would refuse other methods in plain text, which no client of an API reads.
        return Route(path, Endpoint(_only(method, make(context)), form, limits))

    routes = [
        route("/", "GET", _root),
        route("/health", "GET", _health),
        route("/v1/health", "GET", _health),
        route("/v1/models", "GET", list_models),
        route("/v1/models/{model:path}", "GET", one_model),
        route("/v1/chat/completions", "POST", chat_completions),
        route("/v1/completions", "POST", completions),
    ]
    routes += [
        route("/v1/responses", "POST", responses),
        route("/v1/messages", "POST", messages, anthropic_error),
        route("/v1/messages/count_tokens", "POST", count_tokens, anthropic_error),
        route("/api/version", "GET", ollama.version, ollama_error),
        route("/api/tags", "GET", ollama.tags, ollama_error),
        route("/api/ps", "GET", ollama.ps, ollama_error),
        route("/api/show", "POST", ollama.show, ollama_error),
        route("/api/embed", "POST", ollama.embed, ollama_error),
        route("/api/chat", "POST", chat, ollama_error),
        route("/api/generate", "POST", generate, ollama_error),
        route("/v1/embeddings", "POST", embeddings),
        route("/v1/rerank", "POST", rerank),
        route("/tokenize", "POST", tokenize),
        route("/detokenize", "POST", detokenize),
        route("/apply-template", "POST", apply_template),
        route("/infill", "POST", infill),
        route("/props", "GET", props),
        route("/slots", "GET", slots),
        route("/metrics", "GET", metrics),
    ]
    routes += [  # for clients whose base address has no /v1
        route(path, "POST", make)
        for path, make in (
            ("/chat/completions", chat_completions),
            ("/completions", completions),
            ("/embeddings", embeddings),
            ("/rerank", rerank),
            ("/reranking", rerank),
            ("/v1/reranking", rerank),
        )
    ]
    application = Starlette(routes=routes)
    application.router.redirect_slashes = False
    application.router.default = Endpoint(_not_found, openai.error_form, limits)
    return Guard(application, context.settings)


def _only(method: str, handler: Handler) -> Handler:
    allowed = ("GET", "HEAD") if method == "GET" else (method,)

    async def handle(exchange: Exchange) -> None:
        if exchange.scope["method"] not in allowed:
            raise RequestError(
                msg(
                    "{path} answers {allowed}, not {method}",
                    path=exchange.scope["path"][:200],
                    allowed=method,
                    method=exchange.scope["method"][:20],
                ),
                status=405,
                code="method_not_allowed",
                headers={"Allow": ", ".join(allowed)},
            )
        await handler(exchange)

    return handle


def _root(context: ServerContext) -> Handler:
    """What who looks with a browser sees, and clients that only ask whether something is here."""

    async def handle(exchange: Exchange) -> None:
        await exchange.reply(
            {"name": "localq", "version": __version__, "status": "ok", "models": "/v1/models"}
        )

    return handle


def _health(context: ServerContext) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.reply({"status": "ok"})

    return handle


async def _not_found(exchange: Exchange) -> None:
    path, method = exchange.scope["path"], exchange.scope["method"]
    raise RequestError(
        msg("there is no {method} {path} here", method=method, path=path[:200]),
        status=404,
        code="unknown_url",
    )
