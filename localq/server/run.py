"""A server from its beginning to its end."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from starlette.types import ASGIApp

from localq.events import Emit
from localq.library import Library
from localq.planning.offload_plan import PlanOptions
from localq.server.app import make_app
from localq.server.context import ServerContext
from localq.server.gate import Gates
from localq.server.listening import WebServer, listen
from localq.server.settings import ServerSettings, is_loopback
from localq.services.hosting.pool import ModelPool
from localq.services.serving.served_models import ServedModels

__all__ = ["Listening", "ServeRequest", "open_app", "serve"]

_THREADS = 512


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """`models`: loaded at the start, the first being the one for requests that name none; with
    `keep` they stay loaded."""

    models: Sequence[str] = ()
    keep: bool = False
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    settings: ServerSettings = field(default_factory=ServerSettings)


@dataclass(frozen=True, slots=True)
class Listening:
    url: str
    generated_key: str | None
    """The key that clients need, where the user gave none."""


@contextmanager
def open_app(
    library: Library, request: ServeRequest, emit: Emit, cancel: threading.Event
) -> Iterator[ASGIApp]:
    """The application, its first models loaded. Errors as `ModelPool.acquire`'s."""
    settings = request.settings
    with (
        ModelPool(library, owner="serve", n_seq_max=settings.limits.parallel, emit=emit) as pool,
        ThreadPoolExecutor(_THREADS, "request") as executor,
    ):
        models = ServedModels(library, pool, request.models, plan_options=request.plan_options)
        for served in models.named:
            with models.acquire(served, cancel, emit, any_kind=True):
                if request.keep:
                    models.pin(served)
        yield make_app(ServerContext(models, settings, executor, Gates(settings.limits)))


def serve(
    library: Library,
    request: ServeRequest,
    emit: Emit,
    cancel: threading.Event,
    on_listening: Callable[[Listening], None],
) -> None:
    """Serve until a signal asks to end; then running requests are answered before it does.

    Whoever is not on this machine needs a key: one is made where there is none. UsageError: the
    port is taken.
    """
    settings, generated = request.settings, None
    if settings.api_key is None and not is_loopback(settings.host):
        generated = secrets.token_urlsafe(32)
        settings = replace(settings, api_key=generated)
    with listen(settings) as listener:
        request = replace(request, settings=settings)
        with open_app(library, request, emit, cancel) as app:
            port = listener.getsockname()[1]
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            scheme = "https" if settings.tls_cert else "http"
            on_listening(Listening(f"{scheme}://{host}:{port}", generated))
            WebServer(app, settings).run(sockets=[listener])
