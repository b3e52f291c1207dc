"""A Hugging Face Hub on the loopback interface, as far as localq and huggingface_hub ask for it.

    with HubServer() as hub:
        repo = hub.add_repo("org/name", folder)
        hub.faults.append(Cut("model.safetensors", after=1000))

It serves folders as repositories: `/api/models/REPO[/revision/REV]` (with `expand` and `blobs`),
`/api/models/REPO/tree/REV` (in pages), `.../paths-info/REV`, `.../refs`, the search `/api/models`
(in pages), `/api/whoami-v2`, and `/REPO/resolve/REV/PATH` with HEAD, ranges, ETag and the Hub's own
headers. `tests.hub_faults` says what can be made to go wrong. For people and other programs:

    python -m tests.hub_server FOLDER [--port PORT] [--rate BYTES_PER_SECOND]

serves every FOLDER/ORG/NAME until it is stopped; its address is the first line it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.hub_faults import Cut, Fault, FlipByte, Move, Refuse, Resize, Silent, Slow
from tests.hub_repository import Content, Files, Repo, read_repo

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Cut",
    "Fault",
    "Files",
    "FlipByte",
    "HubServer",
    "Move",
    "Refuse",
    "Repo",
    "Request",
    "Resize",
    "Silent",
    "Slow",
    "closed_port_url",
    "main",
    "only_this_hub",
]

_PIECE = 16 << 10
_SENDFILE_PIECE = 8 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; header names in any capitals."""

    method: str
    path: str
    headers: Message


@dataclass(slots=True)
class _Count:
    """How much of a piece went out."""

    sent: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up while it is answered is no error of the server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class HubServer:
    """The server; a context manager that stops it. `url` is what HF_ENDPOINT should be."""

    def __init__(self, *, page_size: int = 1000, port: int = 0) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.sent: Counter[str] = Counter()
        """Bytes of file content by the file's path in its repository."""
        self.page_size = page_size
        self.ignores_ranges = False
        self.tokens: set[str] | None = None
        """The tokens it knows; None: it minds none that is not asked for."""
        self.rate: float | None = None
        """Bytes per second of one answer's body; None: as fast as it can."""
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.asked = threading.Event()
        """Somebody waits for an answer that does not come (Silent)."""
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._server = _Server(("127.0.0.1", port), Handler)
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
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add_repo(self, name: str, folder: Path, *, branch: str = "main") -> Repo:
        """Serve what is in `folder` now as a commit that `branch` points to.

        Of a repository that was added before, the earlier commits can still be asked for.
        """
        repo = read_repo(name, folder, branch)
        before = self.repos.get(name)
        if before is not None:
            repo.earlier = {**before.earlier, before.commit: before}
        self.repos[name] = repo
        return repo

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
    before: Repo | None = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Quiet: tests look at `requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server_of
        with hub.lock:
            hub.requests.append(Request(self.command, self.path, self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        fault = hub.fault(path)
        if isinstance(fault, Refuse):
            self._send(fault.status, fault.headers, fault.body)
            return
        if isinstance(fault, Silent):
            hub.asked.set()
            hub.stopping.wait()
            self.close_connection = True
            return
        if hub.tokens is not None and self._token() not in (None, *hub.tokens):
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        self.before = self._move(path, fault) if isinstance(fault, Move) else None
        match path.split("/")[1:]:
            case ["api", "whoami-v2"]:
                self._whoami()
            case ["api", "models"]:
                self._search(query)
            case ["api", "models", owner, name]:
                self._info(f"{owner}/{name}", "main", query)
            case ["api", "models", owner, name, "refs"]:
                self._refs(f"{owner}/{name}")
            case ["api", "models", owner, name, "revision", *revision]:
                self._info(f"{owner}/{name}", "/".join(revision), query)
            case ["api", "models", owner, name, "tree", revision]:
                self._tree(f"{owner}/{name}", revision, query)
            case ["api", "models", owner, name, "paths-info", *revision]:
                wanted = parse_qs(body.decode()).get("paths", [])
                self._paths_info(f"{owner}/{name}", "/".join(revision), wanted)
            case ["datasets", owner, name, "resolve", revision, *file]:
                self._file(f"{owner}/{name}", revision, "/".join(file), fault)
            case [owner, name, "resolve", revision, *file]:
                self._file(f"{owner}/{name}", revision, "/".join(file), fault)
            case _:
                self._refuse(404, {})

    def _move(self, path: str, fault: Move) -> Repo:
        """Move the branch; returns what this one request still sees."""
        hub = self.server_of
        before = next(repo for name, repo in hub.repos.items() if f"/{name}" in path)
        repo = hub.add_repo(before.name, fault.folder)
        if fault.forget:
            repo.earlier.clear()
        return before

    def _token(self) -> str | None:
        header = self.headers.get("Authorization")
        return header.removeprefix("Bearer ") if header else None

    def _repo(self, name: str, revision: str) -> Repo | None:
        hub = self.server_of
        repo = self.before or hub.repos.get(hub.renamed.get(name, name))
        if repo is None or (repo.private_for and self._token() != repo.private_for):
            self._refuse(401, {"X-Error-Code": "RepoNotFound"})
        elif found := repo.at(revision):
            return found
        else:
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        return None

    def _whoami(self) -> None:
        token, known = self._token(), self.server_of.tokens
        if token is None or (known is not None and token not in known):
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        else:
            access = {"displayName": "test", "role": "read"}
            auth = {"type": "access_token", "accessToken": access}
            self._json({"type": "user", "name": "tester", "auth": auth, "orgs": []}, {})

    def _info(self, name: str, revision: str, query: Mapping[str, list[str]]) -> None:
        if repo := self._repo(name, revision):
            info = repo.info(blobs="blobs" in query)
            self._json(_expanded(info, query), {"X-Repo-Commit": repo.commit})

    def _search(self, query: Mapping[str, list[str]]) -> None:
        words = " ".join(query.get("search", [])).casefold().split()
        tags = {tag for value in query.get("filter", []) for tag in value.split(",")}
        found = [
            repo.info()
            for repo in self.server_of.repos.values()
            if not repo.private_for and all(word in repo.name.casefold() for word in words)
        ]
        found = [info for info in found if tags <= set(info["tags"])]
        if sort := query.get("sort", [""])[0]:
            found.sort(key=lambda info: info[sort], reverse=True)
        limit = int(query.get("limit", ["1000"])[0])
        answers = [_expanded(info, query) for info in found]
        self._page(answers, query, min(limit, self.server_of.page_size))

    def _refs(self, name: str) -> None:
        hub = self.server_of
        if repo := self._repo(name, hub.repos[name].commit if name in hub.repos else "main"):
            branches = [
                {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": repo.commit}
                for branch in sorted(repo.branches)
            ]
            self._json({"branches": branches, "tags": [], "converts": []}, {})

    def _tree(self, name: str, revision: str, query: Mapping[str, list[str]]) -> None:
        if repo := self._repo(name, revision):
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            entries = [entry for entry in repo.entries() if recursive or "/" not in entry["path"]]
            self._page(entries + repo.extra_entries, query, self.server_of.page_size)

    def _paths_info(self, name: str, revision: str, paths: list[str]) -> None:
        if repo := self._repo(name, revision):
            self._json(repo.paths_info(paths), {})

    def _page(self, values: list[Any], query: Mapping[str, list[str]], size: int) -> None:
        begin = int(query.get("cursor", ["0"])[0])
        headers = {}
        if begin + size < len(values):
            following = urlencode({**query, "cursor": [str(begin + size)]}, doseq=True)
            address = f"{self.server_of.url}{urlsplit(self.path).path}?{following}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(values[begin : begin + size], headers)

    def _file(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        if repo.gated_for and self._token() != repo.gated_for:
            self._refuse(401, {"X-Error-Code": "GatedRepo"})
            return
        if path not in repo.files:
            self._refuse(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = repo.files.contents[path]
        entry = repo.entry(path)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{etag}"'}
            if repo.elsewhere is not None:
                headers["Location"] = f"{repo.elsewhere.url}{self.path}"
                self._send(302, headers, b"")
                return
        if isinstance(fault, FlipByte):
            data = bytearray(content.read())
            data[fault.at] ^= 1
            content = Content(len(data), bytes(data))
        if isinstance(fault, Resize):
            data = bytearray(content.read()[: fault.size].ljust(fault.size, b"\0"))
            content = Content(len(data), bytes(data))
        self._content(path, content, headers, fault)

    def _content(
        self, path: str, content: Content, headers: dict[str, str], fault: Fault | None
    ) -> None:
        status, begin, end = 200, 0, content.size
        wanted = self.headers.get("Range")
        if wanted and not self.server_of.ignores_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else end, end)
            if begin >= content.size:
                self._refuse(416, {"Content-Range": f"bytes */{content.size}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{content.size}"
        self._begin(status, headers, end - begin)
        if self.command == "HEAD":
            return
        cut = isinstance(fault, Cut) and fault.after < end - begin
        stop = begin + fault.after if cut and isinstance(fault, Cut) else end
        rate = fault.bytes_per_second if isinstance(fault, Slow) else self.server_of.rate
        try:
            if content.path is not None and rate is None and hasattr(os, "sendfile"):
                self._send_file(content.path, begin, stop, path)
            else:
                self._send_pieces(content, begin, stop, path, rate)
            if cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.close_connection = True  # the client hung up, as it may

    def _send_file(self, file: Path, begin: int, end: int, counted_as: str) -> None:
        with file.open("rb") as opened:
            while begin < end:
                asked = min(_SENDFILE_PIECE, end - begin)
                with self._counted(counted_as, asked) as count:
                    count.sent = os.sendfile(
                        self.connection.fileno(), opened.fileno(), begin, asked
                    )
                if count.sent == 0:
                    raise OSError(f"{file} became shorter")
                begin += count.sent

    def _send_pieces(
        self, content: Content, begin: int, end: int, counted_as: str, rate: float | None
    ) -> None:
        size = _PIECE if rate is None else max(1, min(_PIECE, int(rate / 20)))
        for block in content.blocks(begin, end):
            for offset in range(0, len(block), size):
                piece = block[offset : offset + size]
                with self._counted(counted_as, len(piece)) as count:
                    self.wfile.write(piece)
                    count.sent = len(piece)
                if rate is not None and self.server_of.stopping.wait(len(piece) / rate):
                    raise OSError("the server stops")

    @contextmanager
    def _counted(self, path: str, asked: int) -> Iterator[_Count]:
        """Count `asked` bytes before they go out, and take back what did not.

        A client has the last byte before this thread runs on, so counting afterwards would let a
        test read a sum that lacks it.
        """
        count = _Count()
        with self.server_of.lock:
            self.server_of.sent[path] += asked
        try:
            yield count
        finally:
            with self.server_of.lock:
                self.server_of.sent[path] -= asked - count.sent

    def _json(self, value: object, headers: Mapping[str, str]) -> None:
        body = json.dumps(value).encode()
        self._send(200, {"Content-Type": "application/json", **headers}, body)

    def _refuse(self, status: int, headers: Mapping[str, str]) -> None:
        self._send(status, headers, b'{"error": "refused"}')

    def _begin(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        try:
            self._begin(status, headers, len(body))
            if self.command != "HEAD":
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client hung up, as it may


def _expanded(info: dict[str, Any], query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Only what was asked for by name, where something was."""
    wanted = query.get("expand")
    return info if not wanted else {key: info[key] for key in ("id", *wanted) if key in info}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds the repositories, as ORG/NAME")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, help="bytes per second of each answer")
    arguments = parser.parse_args()
    with HubServer(port=arguments.port) as hub:
        hub.rate = arguments.rate
        for repo in sorted(arguments.folder.glob("*/*/")):
            hub.add_repo("/".join(repo.parts[-2:]), repo)
        print(hub.url, flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
