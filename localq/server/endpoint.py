"""What every endpoint does alike: its handler is run while the client waits, and no longer; its
errors are told in the form of its protocol, and a line of the log says what came of it."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from localq.display import printable
from localq.server.exchange import Exchange, Handler
from localq.server.failure import ClientGone, Failure, failure_of
from localq.server.settings import Limits

__all__ = ["Endpoint", "ErrorForm"]

ErrorForm = Callable[[Failure], tuple[object, str | None]]
"""A protocol's document for an error, and the name of its event in a stream."""

_log = logging.getLogger("localq.server")


class Endpoint:
    """An ASGI application for one path."""

    def __init__(self, handler: Handler, error_form: ErrorForm, limits: Limits) -> None:
        self._handler = handler
        self._error_form = error_form
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._limits)
        if scope["method"] in ("GET", "HEAD"):
            exchange.body_read.set()
        answering = asyncio.create_task(self._answer(exchange))
        leaving = asyncio.create_task(exchange.wait_gone())
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            exchange.noted.error = "took too long"
        finally:
            leaving.cancel()
            if not exchange.finished:
                answering.cancel()
            await asyncio.wait({answering, leaving})
            self._write_log(exchange, gone=answering.cancelled())

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except ClientGone:
            exchange.noted.error = "client gone"
        except Exception as error:
            failure = failure_of(error)
            exchange.noted.error = failure.code or "refused"
            if failure.code == "internal_error":  # where it was, without what was in it
                where = traceback.extract_tb(error.__traceback__)[-1]
                _log.error("%s in %s:%s", type(error).__name__, where.filename, where.lineno)
            try:
                await self._tell(exchange, failure)
            except ClientGone:
                exchange.noted.error = "client gone"

    async def _tell(self, exchange: Exchange, failure: Failure) -> None:
        document, event = self._error_form(failure)
        if not exchange.status:
            await exchange.reply(document, failure.status, failure.headers)
        else:
            if event == "line":
                await exchange.send_line(document)
            else:
                await exchange.send_event(document, event)
            await exchange.close_stream()

    def _write_log(self, exchange: Exchange, *, gone: bool) -> None:
        noted = exchange.noted
        seconds = time.monotonic() - exchange.began
        parts = [
            exchange.scope["method"],
            exchange.scope["path"],
            str(exchange.status or "-"),
            f"{seconds * 1000:.0f} ms",
        ]
        if noted.model:
            parts.append(noted.model)
        if noted.generated_tokens or noted.prompt_tokens:
            read = noted.prompt_tokens - noted.reused_tokens
            parts.append(f"{noted.prompt_tokens} tokens in ({read} read)")
            parts.append(f"{noted.generated_tokens} out")
        if noted.error or gone:
            parts.append(noted.error or "client gone")
        _log.info("%s", printable("  ".join(parts)))
