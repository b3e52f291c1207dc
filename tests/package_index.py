"""A package index on the loopback interface (PEP 503), with tiny wheels made on the spot.

with PackageIndex() as index:
    index.add("tiny", "1.0", {"tiny/__init__.py": "answer = 42"})
    index.lock_text()      # the lines of a lock file, with hashes
"""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

__all__ = ["PackageIndex", "wheel"]


def wheel(name: str, version: str, files: Mapping[str, str]) -> bytes:
    """A pure wheel with these files; the same bytes for the same arguments."""
    info = f"{name}-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = [f"{path},{_recorded(text)}" for path, text in whole.items()]
    whole[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,\n"])
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for path, text in whole.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return held.getvalue()


def _recorded(text: str) -> str:
    digest = base64.urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(text.encode())}"


class PackageIndex:
    """`asked` is set when a file that `stall` names is asked for; it then never comes. Of a file
    in `spoiled`, other bytes are sent than the lock says."""

    def __init__(self) -> None:
        self.stall: str | None = None
        self.spoiled: set[str] = set()
        self.asked = threading.Event()
        self._over = threading.Event()
        self._wheels: dict[str, tuple[str, bytes]] = {}
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index._answer(self)

            def log_message(self, *_: object) -> None:
                """Not said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/simple/"

    def add(self, name: str, version: str, files: Mapping[str, str]) -> None:
        self._wheels[name] = (version, wheel(name, version, files))

    def lock_text(self) -> str:
        return "".join(
            f"{name}=={version} \\\n    --hash=sha256:{sha256(content).hexdigest()}\n"
            for name, (version, content) in self._wheels.items()
        )

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        folder, _, name = request.path.strip("/").partition("/")
        wanted = name.partition("-")[0]
        if wanted not in self._wheels:
            request.send_error(404)
            return
        version, content = self._wheels[wanted]
        file = f"{wanted}-{version}-py3-none-any.whl"
        if folder == "simple":
            body = f'<a href="/files/{file}">{file}</a>'.encode()
        else:
            if self.stall == wanted:
                self.asked.set()
                self._over.wait()
            body = content if wanted not in self.spoiled else content + b"!"
        request.send_response(200)
        request.send_header(
            "Content-Type", "text/html" if folder == "simple" else "application/zip"
        )
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> PackageIndex:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
