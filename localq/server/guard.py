"""Who may speak to the server at all. A web page that the user happens to visit may not: neither
by sending requests (Origin), nor by giving its own name this machine's address (Host)."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localq.messages import msg
from localq.server.failure import Failure, RequestError, failure_of
from localq.server.settings import ServerSettings

__all__ = ["Guard"]

_OPEN_PATHS = ("/health", "/v1/health")
"""Those that need no key."""
_APP_SCHEMES = ("vscode-webview", "vscode-file", "app", "tauri", "obsidian")
"""Programs on this machine; no web page has such an origin."""
_ALLOWED_HEADERS = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta"


class Guard:
    """ASGI: looks at each request's Host, Origin and key before the application does."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._key = _digest(settings.api_key) if settings.api_key else None
        own = (settings.host, socket.gethostname(), f"{socket.gethostname()}.local")
        self._hosts = {name.casefold() for name in (*own, *settings.allow_hosts)}
        self._origins = {one.casefold().rstrip("/") for one in settings.allow_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        origin = _one(headers, b"origin")
        try:
            self._check_host(_one(headers, b"host"))
            self._check_origin(origin, _one(headers, b"sec-fetch-site"))
            if scope["method"] == "OPTIONS":
                await _preflight(send, origin)
                return
            if scope["path"] not in _OPEN_PATHS:
                self._check_key(headers)
        except RequestError as error:
            await _refuse(send, failure_of(error))
            return

        async def with_origin(message: Message) -> None:
            if message["type"] == "http.response.start" and origin:
                message["headers"] = [*message["headers"], *_cors(origin)]
            await send(message)

        await self._app(scope, receive, with_origin)

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return
        try:
            ip_address(name)  # an address cannot be another's name
        except ValueError:
            raise RequestError(
                msg("this server has no name {name!r}; --allow-host gives it one", name=name[:99]),
                status=403,
                code="host_not_allowed",
            ) from None

    def _check_origin(self, origin: str, site: str) -> None:
        if not origin:
            if site == "cross-site":
                raise _stranger("cross-site")
            return
        if origin.casefold() in self._origins or "*" in self._origins:
            return
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or "").casefold()
        except ValueError:
            raise _stranger(origin) from None
        local = name in ("localhost", "127.0.0.1", "::1") or name.endswith(".localhost")
        if parts.scheme in _APP_SCHEMES or (parts.scheme in ("http", "https") and local):
            return
        raise _stranger(origin)

    def _check_key(self, headers: dict[bytes, list[bytes]]) -> None:
        if self._key is None:
            return
        given = _one(headers, b"x-api-key")
        kind, _, token = _one(headers, b"authorization").partition(" ")
        if kind.casefold() == "bearer":
            given = token.strip()
        if not hmac.compare_digest(_digest(given), self._key):
            raise RequestError(
                msg("a key is needed: Authorization: Bearer KEY"),
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _one(headers: dict[bytes, list[bytes]], name: bytes) -> str:
    """The header's value; RequestError where there are several, which two readers might take
    differently."""
    values = headers.get(name, [])
    if len(values) > 1:
        raise RequestError(msg("the header {name} is there twice", name=name.decode("ascii")))
    return values[0].decode("latin-1").strip() if values else ""


def _host_name(host: str) -> str:
    """Without the port, and without an IPv6 address' brackets."""
    host = host.casefold()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _digest(text: str) -> bytes:
    """Of one length, so that comparing tells nothing of the key's."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _stranger(origin: str) -> RequestError:
    return RequestError(
        msg("web pages of {origin!r} may not use this server", origin=origin[:200]),
        status=403,
        code="origin_not_allowed",
    )


def _cors(origin: str) -> Iterable[tuple[bytes, bytes]]:
    yield b"access-control-allow-origin", origin.encode("latin-1")
    yield b"vary", b"Origin"


async def _preflight(send: Send, origin: str) -> None:
    headers = [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", _ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
        *(_cors(origin) if origin else ()),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, failure: Failure) -> None:
    error = {"message": failure.message, "type": "invalid_request_error", "code": failure.code}
    body = json.dumps({"error": {**error, "param": None}}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    pairs = {**headers, **failure.headers, "Connection": "close"}
    encoded = [(name.lower().encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": failure.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
