"""One request and its answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from starlette.types import Message, Receive, Scope, Send

from localq.messages import msg
from localq.server.failure import ClientGone, RequestError
from localq.server.fields import Fields, parse_json
from localq.server.settings import Limits

__all__ = ["Exchange", "Handler", "Headers", "Noted"]

Headers = Mapping[str, str]
Handler = Callable[["Exchange"], Awaitable[None]]

_EVENT_STREAM = "text/event-stream; charset=utf-8"
_PATIENCE_SECONDS = 2.0
"""For what is wrong to be told by a status."""
_LARGE_BODY = 1 << 16
"""Parsed in a thread from here on, so that others are not held up."""


class Noted:
    """What the log says of a request."""

    def __init__(self) -> None:
        self.model = ""
        self.prompt_tokens = 0
        self.reused_tokens = 0
        self.generated_tokens = 0
        self.error = ""


class Exchange:
    """Reads the body within limits; answers with one document, or with a stream of texts."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.scope = scope
        self.noted = Noted()
        self.status = 0
        """Of the answer, once it has begun."""
        self.finished = False
        """Whether all of it has been sent."""
        self.began = time.monotonic()
        self.body_read = asyncio.Event()
        self._receive = receive
        self._send = send
        self._limits = limits
        self._last_sent = self.began
        self._sending = asyncio.Lock()

    @property
    def headers(self) -> dict[str, str]:
        """Those that come more than once are joined."""
        found: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    @property
    def query(self) -> str:
        return str(self.scope.get("query_string", b"").decode("latin-1"))

    async def body(self) -> bytes:
        """RequestError 413 or 408; ClientGone."""
        limits = self._limits
        try:
            expected = int(self.headers.get("content-length", "0"))
        except ValueError:
            expected = 0
        if expected > limits.body_bytes:
            raise _too_large(limits)
        parts = bytearray()
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts += message.get("body", b"")
                    if len(parts) > limits.body_bytes:
                        raise _too_large(limits)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise RequestError(
                msg("the body took more than {seconds:g} seconds", seconds=limits.body_seconds),
                status=408,
                headers={"Connection": "close"},
            ) from None
        self.body_read.set()
        return bytes(parts)

    async def json(self) -> Fields:
        """The body as an object. RequestError; ClientGone."""
        body = await self.body()
        if len(body) < _LARGE_BODY:
            return Fields(parse_json(body))
        return Fields(await asyncio.to_thread(parse_json, body))

    async def wait_gone(self) -> None:
        """Return once the client has left; a body that nobody wants is read away."""
        await self.body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(
        self, document: object, status: int = 200, headers: Headers | None = None
    ) -> None:
        """Answer with a JSON document."""
        text = _to_json(document)
        await self.reply_bytes(text.encode("utf-8", "replace"), "application/json", status, headers)

    async def reply_bytes(
        self,
        content: bytes,
        media_type: str,
        status: int = 200,
        headers: Headers | None = None,
    ) -> None:
        length = {"Content-Length": str(len(content)), **(headers or {})}
        await self._start(status, media_type, length)
        await self._put({"type": "http.response.body", "body": content})

    async def open_stream(self, media_type: str = _EVENT_STREAM) -> None:
        """Begin an answer of many parts, unless it has begun."""
        if self.status:
            return
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        await self._start(200, media_type, headers)

    async def send_text(self, text: str) -> None:
        """A part of it."""
        body = text.encode("utf-8", "replace")
        await self._put({"type": "http.response.body", "body": body, "more_body": True})
        self._last_sent = time.monotonic()

    async def send_event(self, document: object, name: str | None = None) -> None:
        """A server-sent event."""
        data = _to_json(document)
        await self.send_text(f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n")

    async def send_line(self, document: object) -> None:
        """A line of JSON."""
        await self.send_text(_to_json(document) + "\n")

    @asynccontextmanager
    async def patience(
        self, alive: str | None = ": waiting\n\n", media_type: str = _EVENT_STREAM
    ) -> AsyncIterator[None]:
        """While the block runs, a client that has heard nothing for long is shown that the server
        lives: by the stream's beginning, then by `alive`."""

        async def tick() -> None:
            with suppress(ClientGone):
                await asyncio.sleep(_PATIENCE_SECONDS)
                await self.open_stream(media_type)
                while alive is not None:
                    await asyncio.sleep(self._limits.keep_alive_seconds)
                    if time.monotonic() - self._last_sent >= self._limits.keep_alive_seconds:
                        await self.send_text(alive)

        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})

    async def close_stream(self) -> None:
        await self._put({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, media_type: str, headers: Headers) -> None:
        self.status = status
        pairs = {"Content-Type": media_type, "X-Content-Type-Options": "nosniff", **headers}
        encoded = [
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in pairs.items()
        ]
        await self._put({"type": "http.response.start", "status": status, "headers": encoded})

    async def _put(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.finished = True
        try:
            async with asyncio.timeout(self._limits.send_seconds), self._sending:
                await self._send(message)
        except (TimeoutError, OSError):
            raise ClientGone from None


def _to_json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        msg("the body is larger than {most:,} bytes", most=limits.body_bytes),
        status=413,
        headers={"Connection": "close"},
    )
