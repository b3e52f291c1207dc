"""The real server on a port of this machine, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from localq.events import ignore
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.server.listening import WebServer, listen
from localq.server.run import ServeRequest, open_app
from localq.server.settings import Limits, ServerSettings
from localq.services.hosting.stop import loaded_models
from tests.engine.test_engine import DEMO, make_gguf

__all__ = ["MODEL", "Server", "serving", "story_model"]

MODEL = "stories260K-Q8_0"
"""What the demo model is called there."""


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    paths: Paths
    app: Any
    file: Path
    """Of its first model."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, document (or text), headers of the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            found = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        if found.get("content-type", "").startswith("application/json"):
            return response.status, json.loads(text), found
        return response.status, text, found

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        return self.ask("POST", path, body, headers)[:2]

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self.ask("GET", path, None, headers)[:2]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @property
    def busy(self) -> bool:
        """Whether a model has a request."""
        return any(record.state == "busy" for record in loaded_models(self.paths))


def story_model(folder: Path) -> str:
    return str(make_gguf(DEMO, folder))


@contextmanager
def serving(
    folder: Path, *models: str, settings: ServerSettings | None = None, n_ctx: int = 512
) -> Iterator[Server]:
    """A server with a home of its own. `settings`: its port is any."""
    paths = Paths.from_environment({"LOCALQ_HOME": str(folder / "home")})
    settings = replace(settings or ServerSettings(limits=Limits(parallel=8)), port=0)
    plan_options = PlanOptions(n_ctx=n_ctx, n_threads=1)
    request = ServeRequest(models, plan_options=plan_options, settings=settings)
    with (
        listen(settings) as listener,
        open_app(Library(paths), request, ignore, threading.Event()) as app,
    ):
        server = WebServer(app, settings)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="server"
        )
        thread.start()
        try:
            yield Server(listener.getsockname()[1], paths, app, Path(*models[:1]))
        finally:
            server.should_exit = True
            thread.join()
