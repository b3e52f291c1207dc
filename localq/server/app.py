"""All paths, and who answers them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from localq.messages import msg
from localq.server.context import ServerContext
from localq.server.endpoint import Endpoint, ErrorForm
from localq.server.exchange import Exchange, Handler
from localq.server.failure import RequestError
from localq.server.guard import Guard
from localq.server.openai import form as openai
from localq.server.openai.chat import chat_completions
from localq.server.openai.completions import completions
from localq.server.openai.models import list_models, one_model

__all__ = ["make_app"]

_Make = Callable[[ServerContext], Handler]


def make_app(context: ServerContext) -> ASGIApp:
    """The application, behind its guard."""
    limits = context.settings.limits

    def route(path: str, method: str, make: _Make, form: ErrorForm = openai.error_form) -> Route:
        return Route(path, Endpoint(make(context), form, limits), methods=[method])

    routes = [
        route("/health", "GET", _health),
        route("/v1/health", "GET", _health),
        route("/v1/models", "GET", list_models),
        route("/v1/models/{model:path}", "GET", one_model),
        route("/v1/chat/completions", "POST", chat_completions),
        route("/v1/completions", "POST", completions),
    ]
    routes += [  # for clients whose base address has no /v1
        route(path, "POST", make)
        for path, make in (
            ("/chat/completions", chat_completions),
            ("/completions", completions),
        )
    ]
    application = Starlette(routes=routes)
    application.router.redirect_slashes = False
    application.router.default = Endpoint(_not_found, openai.error_form, limits)
    return Guard(application, context.settings)


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
