"""Pictures in requests, in every protocol's form."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from localq.server.settings import Limits, ServerSettings
from tests.projectors import png, write_projector
from tests.server.serving import Server, serving, story_model

A, B = (base64.b64encode(png(seed=seed)).decode() for seed in (1, 2))
PLACES = 16
WORDS = "Once upon a time"


class _Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = png(seed=1) if self.path == "/a.png" else b"<html>"
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Pictures)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sight")
    model = story_model(folder)
    write_projector(folder / "mmproj.gguf", 64)
    settings = ServerSettings(limits=Limits(parallel=2, body_bytes=1 << 20))
    with serving(folder, model, settings=settings) as started:
        yield started


def openai(url: str, words: str = WORDS) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": words}]
    return {
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "max_tokens": 8,
    }


def inline(file: str) -> str:
    return f"data:image/png;base64,{file}"


def test_every_protocol_sees_the_same(server: Server) -> None:
    status, chat = server.post("/v1/chat/completions", openai(inline(A)))
    assert status == 200
    said = chat["choices"][0]["message"]["content"]
    with_words = server.post(
        "/v1/chat/completions",
        {**openai(inline(A)), "messages": [{"role": "user", "content": WORDS}]},
    )[1]
    places = chat["usage"]["prompt_tokens"] - with_words["usage"]["prompt_tokens"]
    assert places == PLACES

    part = {"type": "input_image", "image_url": inline(A)}
    words = {"type": "input_text", "text": WORDS}
    asked = {"input": [{"role": "user", "content": [part, words]}], "temperature": 0}
    answer = server.post("/v1/responses", {**asked, "max_output_tokens": 8})[1]
    assert answer["output"][0]["content"][0]["text"] == said

    source = {"type": "base64", "media_type": "image/png", "data": A}
    block = {"type": "image", "source": source}
    messages = [{"role": "user", "content": [block, {"type": "text", "text": WORDS}]}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 8}
    assert server.post("/v1/messages", body)[1]["content"][0]["text"] == said
    count = server.post("/v1/messages/count_tokens", {"messages": messages})[1]["input_tokens"]
    assert count == chat["usage"]["prompt_tokens"]

    options = {"temperature": 0, "num_predict": 8}
    talk = {"messages": [{"role": "user", "content": WORDS, "images": [A]}], "options": options}
    document = server.post("/api/chat", {**talk, "stream": False})[1]
    assert document["message"]["content"] == said
    text = {"prompt": WORDS, "images": [A], "options": options, "stream": False}
    assert server.post("/api/generate", text)[1]["response"] == said

    other = server.post("/v1/chat/completions", openai(inline(B)))[1]
    assert other["choices"][0]["message"]["content"] != said


def test_the_model_says_that_it_sees(server: Server) -> None:
    assert server.get("/props")[1]["modalities"]["vision"] is True
    assert "vision" in server.post("/api/show", {})[1]["capabilities"]


def test_a_picture_stands_where_it_was_put(server: Server) -> None:
    before, between = (
        [{"type": "text", "text": "Once"}, picture, {"type": "text", "text": "upon"}]
        for picture in (
            {"type": "text", "text": ""},
            {"type": "image_url", "image_url": {"url": inline(A)}},
        )
    )
    answers = [
        server.post(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": parts}], "max_tokens": 1},
        )[1]
        for parts in (before, between)
    ]
    counts = [answer["usage"]["prompt_tokens"] for answer in answers]
    assert counts[1] > counts[0]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:,x",
        "data:image/png,abc",
        "data:image/png;base64,!!",
        "data:image/png;base64,aGVsbG8=",
        f"data:image/png;base64,{A[:400]}",
        "http://127.0.0.1:9/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
    ],
)
def test_what_is_no_picture_is_refused(server: Server, url: str) -> None:
    status, document = server.post("/v1/chat/completions", openai(url))
    assert 400 <= status < 500
    assert document["error"]["message"]
    assert server.post("/v1/chat/completions", openai(inline(A)))[0] == 200


def test_pictures_elsewhere_are_not_fetched(server: Server, elsewhere: str) -> None:
    status, refused = server.post("/v1/chat/completions", openai(f"{elsewhere}/a.png"))
    assert status == 400
    assert "not fetched" in refused["error"]["message"]


def test_a_model_that_cannot_see_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("blind")
    with serving(folder, story_model(folder)) as server:
        status, document = server.post("/v1/chat/completions", openai(inline(A)))
        assert 400 <= status < 500
        assert "cannot see pictures" in document["error"]["message"]


def test_allowed_from_elsewhere(tmp_path_factory: pytest.TempPathFactory, elsewhere: str) -> None:
    folder = tmp_path_factory.mktemp("far")
    model = story_model(folder)
    write_projector(folder / "mmproj.gguf", 64)
    with serving(folder, model, settings=replace(ServerSettings(), remote_images=True)) as server:
        near = server.post("/v1/chat/completions", openai(inline(A)))[1]["choices"]
        far = server.post("/v1/chat/completions", openai(f"{elsewhere}/a.png"))[1]["choices"]
        assert far[0]["message"] == near[0]["message"]
        for bad in ("/page", "/away"):
            assert 400 <= server.post("/v1/chat/completions", openai(f"{elsewhere}{bad}"))[0] < 500
