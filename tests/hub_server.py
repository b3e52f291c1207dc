"""A Hugging Face Hub on the loopback interface, as far as localq and huggingface_hub ask for it.

    with HubServer() as hub:
        repo = hub.add_repo("org/name", folder)
        hub.faults.append(Cut("model.safetensors", after=1000))

It serves folders as repositories: `/api/models/REPO[/revision/REV]`, `/api/models/REPO/tree/REV`
(in pages), `/REPO/resolve/REV/PATH` with HEAD, ranges, ETag and the Hub's own headers. A fault
waits for the requests it is about, spoils as many of them as it says, and is used up.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

__all__ = [
    "Cut",
    "Fault",
    "FlipByte",
    "HubServer",
    "Refuse",
    "Repo",
    "Request",
    "Resize",
    "closed_port_url",
    "only_this_hub",
]

_LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")
_PIECE = 16 << 10


@dataclass(slots=True)
class Fault:
    """Happens to the next `times` requests whose path ends with `suffix`."""

    suffix: str = ""
    times: int = 1

    def meets(self, path: str) -> bool:
        """Whether it happens to this request; counts it if so."""
        if self.times == 0 or not path.endswith(self.suffix):
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Refuse(Fault):
    """Answer with an error, or with something else altogether, instead."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "refused"}'


@dataclass(slots=True)
class Cut(Fault):
    """Close the connection after so many bytes of the body."""

    after: int = 0


@dataclass(slots=True)
class FlipByte(Fault):
    """Change one byte of the file."""

    at: int = 0


@dataclass(slots=True)
class Resize(Fault):
    """Serve a file of another length than listed: cut short, or with zeros at its end."""

    size: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; header names in any capitals."""

    method: str
    path: str
    headers: Message


@dataclass(slots=True)
class Repo:
    """A served folder. The commit is fixed when it is added; `branches` point to it."""

    name: str
    files: dict[str, bytes]
    commit: str
    branches: set[str]
    gated_for: str | None = None
    """The token that opens it; None: it is open to all."""
    extra_entries: list[dict[str, Any]] = field(default_factory=list)
    """What the file list claims besides."""
    elsewhere: HubServer | None = None
    """Another server that large files are redirected to."""

    def entries(self) -> Iterator[dict[str, Any]]:
        for path, content in sorted(self.files.items()):
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
            if path.endswith(_LFS_SUFFIXES):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
                entry["oid"] = hashlib.sha1(sha256.encode()).hexdigest()
            yield entry
        for folder in sorted({path.rpartition("/")[0] for path in self.files} - {""}):
            yield {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}


class HubServer:
    """The server; a context manager that stops it. `url` is what HF_ENDPOINT should be."""

    def __init__(self, *, page_size: int = 1000) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.sent: Counter[str] = Counter()
        """Bytes of file content by the file's path in its repository."""
        self.page_size = page_size
        self.ignores_ranges = False
        self.lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add_repo(self, name: str, folder: Path, *, branch: str = "main") -> Repo:
        """Serve what is in `folder` now as a commit that `branch` points to."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repos[name] = Repo(name, files, commit, {branch})
        return self.repos[name]

    def paths(self, method: str = "GET") -> list[str]:
        """What was asked for, without parameters."""
        return [urlsplit(r.path).path for r in self.requests if r.method == method]

    def fault(self, path: str) -> Fault | None:
        with self.lock:
            return next((fault for fault in self.faults if fault.meets(path)), None)


@contextmanager
def only_this_hub(monkeypatch: pytest.MonkeyPatch, url: str, hf_home: Path) -> Iterator[None]:
    """Let every Hugging Face variable lead to `url`, and to the empty folder `hf_home`."""
    from huggingface_hub import close_session

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HOME", str(hf_home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    yield
    close_session()


def closed_port_url() -> str:
    """An address of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Quiet: tests look at `requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server_of
        with hub.lock:
            hub.requests.append(Request(self.command, self.path, self.headers))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        fault = hub.fault(path)
        if isinstance(fault, Refuse):
            self._send(fault.status, fault.headers, fault.body)
            return
        match path.split("/")[1:]:
            case ["api", "models", owner, name]:
                self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", *revision]:
                self._info(f"{owner}/{name}", "/".join(revision))
            case ["api", "models", owner, name, "tree", revision]:
                self._tree(f"{owner}/{name}", revision, parse_qs(parts.query))
            case [owner, name, "resolve", revision, *file]:
                self._file(f"{owner}/{name}", revision, "/".join(file), fault)
            case _:
                self._refuse(404, {})

    def _repo(self, name: str, revision: str) -> Repo | None:
        hub = self.server_of
        repo = hub.repos.get(hub.renamed.get(name, name))
        if repo is None:
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
        elif revision != repo.commit and revision not in repo.branches:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repo
        return None

    def _info(self, name: str, revision: str) -> None:
        if repo := self._repo(name, revision):
            siblings = [{"rfilename": path} for path in sorted(repo.files)]
            info = {"id": repo.name, "sha": repo.commit, "private": False, "siblings": siblings}
            self._json(info, {"X-Repo-Commit": repo.commit})

    def _tree(self, name: str, revision: str, query: Mapping[str, list[str]]) -> None:
        if repo := self._repo(name, revision):
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            entries = [entry for entry in repo.entries() if recursive or "/" not in entry["path"]]
            entries += repo.extra_entries
            size = self.server_of.page_size
            begin = int(query.get("cursor", ["0"])[0])
            headers = {}
            if begin + size < len(entries):
                following = f"recursive={str(recursive).lower()}&cursor={begin + size}"
                address = f"{self.server_of.url}{urlsplit(self.path).path}?{following}"
                headers["Link"] = f'<{address}>; rel="next"'
            self._json(entries[begin : begin + size], headers)

    def _file(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        if repo.gated_for and self.headers.get("Authorization") != f"Bearer {repo.gated_for}":
            self._refuse(401, {"X-Error-Code": "GatedRepo"})
            return
        if path not in repo.files:
            self._refuse(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = repo.files[path]
        entry = next(entry for entry in repo.entries() if entry["path"] == path)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{etag}"'}
            if repo.elsewhere is not None:
                headers["Location"] = f"{repo.elsewhere.url}{self.path}"
                self._send(302, headers, b"")
                return
        if isinstance(fault, FlipByte):
            content = content[: fault.at] + bytes([content[fault.at] ^ 1]) + content[fault.at + 1 :]
        if isinstance(fault, Resize):
            content = content[: fault.size].ljust(fault.size, b"\0")
        self._content(path, content, headers, fault.after if isinstance(fault, Cut) else None)

    def _content(self, path: str, content: bytes, headers: dict[str, str], cut: int | None) -> None:
        status, begin, end = 200, 0, len(content)
        wanted = self.headers.get("Range")
        if wanted and not self.server_of.ignores_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else end, end)
            if begin >= len(content):
                self._refuse(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        self._send(status, headers, content[begin:end], counted_as=path, cut=cut)

    def _json(self, value: object, headers: Mapping[str, str]) -> None:
        body = json.dumps(value).encode()
        self._send(200, {"Content-Type": "application/json", **headers}, body)

    def _refuse(self, status: int, headers: Mapping[str, str]) -> None:
        self._send(status, headers, b'{"error": "refused"}')

    def _send(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        counted_as: str | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for offset in range(0, len(body if cut is None else body[:cut]), _PIECE):
                piece = body[offset : min(offset + _PIECE, len(body) if cut is None else cut)]
                self.wfile.write(piece)
                if counted_as is not None:
                    with self.server_of.lock:
                        self.server_of.sent[counted_as] += len(piece)
            self.wfile.flush()
            if cut is not None and cut < len(body):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True  # the client hung up, as it may
