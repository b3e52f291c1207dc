"""The web server: uvicorn, with a limit on how long a request's headers may take."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from localq.errors import UsageError
from localq.messages import msg
from localq.server.settings import Limits, ServerSettings

__all__ = ["WebServer", "listen"]


class WebServer(uvicorn.Server):
    """`run` in the main thread, where signals end it, or `serve` in a loop of one's own."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        limits = settings.limits
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=_protocol(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=round(limits.drain_seconds),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        # Requests have a log of their own; that a client has left is no news.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").setLevel(logging.ERROR)


def listen(settings: ServerSettings) -> socket.socket:
    """The port, taken. UsageError where another program has it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(settings.limits.connections)
    except OSError as error:
        listener.close()
        raise UsageError(
            msg(
                "cannot listen on {host}:{port}: {reason}",
                host=settings.host,
                port=settings.port,
                reason=error.strerror or error,
            ),
            hint=msg("another port: localq serve --port N"),
        ) from None
    listener.setblocking(False)
    return listener


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    class BoundedProtocol(H11Protocol):
        """Ends a connection whose next request's headers do not arrive in time."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not None and self.cycle is not before:
                self._stop_timer()
            if self.cycle is None or self.cycle.response_complete:
                self._expect_headers()  # a request has begun, whose headers are not all there

        def _expect_headers(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(limits.header_seconds, self._too_slow)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if self.cycle is None or self.cycle.response_complete:
                cast(Any, self.transport).abort()

    return BoundedProtocol
