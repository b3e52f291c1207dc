"""Ollama's API."""

from __future__ import annotations

import json
from typing import Any

from tests.server.serving import MODEL, Server

STORY = ", there was a little girl named Lily. She"
OPTIONS = {"temperature": 0, "num_predict": 12}
ONCE = [{"role": "user", "content": "Once upon a time"}]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_chat_is_streamed_in_lines(server: Server) -> None:
    body = {"model": MODEL, "messages": ONCE, "options": OPTIONS}
    found = lines(server.post("/api/chat", body)[1])
    assert "".join(one["message"]["content"] for one in found) == STORY
    assert [one["done"] for one in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["eval_count"] == 12
    assert found[-1]["done_reason"] == "length"
    whole = server.post("/api/chat", {**body, "stream": False})[1]
    assert whole["message"]["content"] == STORY


def test_texts_are_generated_raw_and_by_template(server: Server) -> None:
    for raw in (False, True):
        body = {"model": MODEL, "prompt": "Once upon a time", "options": OPTIONS, "raw": raw}
        assert (
            "".join(one["response"] for one in lines(server.post("/api/generate", body)[1]))
            == STORY
        )


def test_a_form_is_followed(server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    body = {"messages": ONCE, "format": schema, "stream": False, "options": {"temperature": 0}}
    content = server.post("/api/chat", body)[1]["message"]["content"]
    assert json.loads(content)["a"] in ("x", "y")


def test_nothing_said_loads_the_model(server: Server) -> None:
    (only,) = lines(server.post("/api/generate", {"model": MODEL})[1])
    assert (only["done"], only["done_reason"]) == (True, "load")


def test_models_are_listed_shown_and_seen_loaded(server: Server) -> None:
    (model,) = server.get("/api/tags")[1]["models"]
    assert (model["name"], model["details"]["quantization_level"]) == (MODEL, "Q8_0")
    shown = server.post("/api/show", {"model": MODEL})[1]
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion"]
    server.post("/api/generate", {"model": MODEL})
    (loaded,) = server.get("/api/ps")[1]["models"]
    assert loaded["context_length"] == 512
    assert server.get("/api/version")[1]["version"]


def test_embeddings(server: Server) -> None:
    document = server.post("/api/embed", {"model": MODEL, "input": ["a cat", "a dog"]})[1]
    assert [len(one) for one in document["embeddings"]] == [64, 64]


def test_errors_have_its_form(server: Server) -> None:
    status, document = server.post("/api/chat", {"model": "llama3", "messages": ONCE})
    assert status == 404
    assert MODEL in document["error"]
    picture = [{"role": "user", "content": "?", "images": ["aGk="]}]
    assert server.post("/api/chat", {"messages": picture})[0] == 400
