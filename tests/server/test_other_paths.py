"""Embeddings, ranking, and what llama-server has besides."""

from __future__ import annotations

import base64
import json
import math
from array import array

import pytest

from localq.formats.gguf import read_gguf
from localq.services.hosting.hosted import HostedModel
from tests.server.serving import MODEL, Server


def test_embeddings_as_numbers_and_as_base64(server: Server) -> None:
    body = {"model": MODEL, "input": ["a cat", "a dog"]}
    status, document = server.post("/v1/embeddings", body)
    assert status == 200
    first, second = (one["embedding"] for one in document["data"])
    assert len(first) == 64
    assert math.hypot(*first) == pytest.approx(1)
    assert first != second
    encoded = server.post("/v1/embeddings", {**body, "encoding_format": "base64"})[1]
    numbers = array("f", base64.b64decode(encoded["data"][0]["embedding"]))
    assert numbers.tolist() == pytest.approx(first)
    assert document["usage"]["prompt_tokens"] == encoded["usage"]["total_tokens"] > 2


def test_embeddings_of_tokens_are_those_of_their_text(server: Server) -> None:
    tokens = server.post("/tokenize", {"content": "a cat", "add_special": True})[1]["tokens"]
    texts = server.post("/v1/embeddings", {"input": "a cat", "dimensions": 8})[1]
    ids = server.post("/v1/embeddings", {"input": tokens, "dimensions": 8})[1]
    assert texts["data"][0]["embedding"] == pytest.approx(ids["data"][0]["embedding"])
    wrongs: list[object] = [[], [[]], [1, "a"], [99999], {"a": 1}, ["x " * 2000]]
    for wrong in wrongs:
        status, document = server.post("/v1/embeddings", {"input": wrong})
        assert status == 400, wrong
        assert document["error"]["message"]


def test_documents_come_best_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"bad": -3.0, "good": 2.5, "none": float("nan")}
    monkeypatch.setattr(
        "localq.engine.client.Engine.rank",
        lambda self, query, documents, **_: tuple(scores[one] for one in documents),
    )
    body = {"query": "?", "documents": ["none", "bad", {"text": "good"}], "return_documents": True}
    results = server.post("/v1/rerank", body)[1]["results"]
    assert [one["index"] for one in results] == [2, 1, 0]
    assert results[0]["document"]["text"] == "good"
    assert results[2]["relevance_score"] is None
    assert len(server.post("/rerank", {**body, "top_n": 1})[1]["results"]) == 1


def test_a_model_that_cannot_rank_says_so(server: Server) -> None:
    status, document = server.post("/v1/rerank", {"query": "?", "documents": ["x"]})
    assert status == 400
    assert "no scores" in document["error"]["message"]


def test_texts_become_tokens_and_tokens_texts(server: Server) -> None:
    text = "Once upon a time 你好"
    tokens = server.post("/tokenize", {"content": text})[1]["tokens"]
    assert server.post("/detokenize", {"tokens": tokens})[1]["content"].strip() == text
    pieces = server.post("/tokenize", {"content": "Once", "with_pieces": True})[1]["tokens"]
    assert "".join(one["piece"] for one in pieces).strip() == "Once"
    assert server.post("/detokenize", {"tokens": []})[1]["content"] == ""
    assert "<s>" in server.post("/detokenize", {"tokens": [1]})[1]["content"]


def test_a_template_is_applied(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "Once"}]}
    assert server.post("/apply-template", body)[1]["prompt"] == "Once"


def test_what_is_loaded_is_told(server: Server) -> None:
    props = server.get("/props")[1]
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["total_slots"] == 8
    assert "/" not in props["model_path"]
    assert len(server.get("/slots")[1]) == 8
    server.post("/v1/completions", {"prompt": "Once", "max_tokens": 3})
    status, text = server.get("/metrics")
    assert status == 200
    values = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert int(values["localq:tokens_predicted_total"]) >= 3
    assert int(values["localq:models_loaded"]) == 1


def test_a_text_is_filled_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model has no such tokens; with any others in their place the prompt is right."""
    body = {"input_prefix": "Once", "input_suffix": "end", "n_predict": 4, "temperature": 0}
    status, document = server.post("/infill", body)
    assert status == 400
    assert "fill in" in document["error"]["message"]

    known = read_gguf(server.file).metadata
    names = ("fim_pre", "fim_suf", "fim_mid")
    fim = {f"tokenizer.ggml.{name}_token_id": 300 + i for i, name in enumerate(names)}
    monkeypatch.setattr(HostedModel, "metadata", property(lambda model: {**known, **fim}))
    document = server.post("/infill", body)[1]
    assert document["tokens_predicted"] == 4
    assert document["stop_type"] == "limit"
    text = server.post("/infill", {**body, "stream": True})[1]
    parts = [json.loads(line[6:]) for line in text.splitlines() if line]
    assert "".join(one["content"] for one in parts) == document["content"]
    assert parts[-1]["stop"] is True
    completion = {"prompt": "Once", "suffix": "end", "max_tokens": 4, "temperature": 0}
    (choice,) = server.post("/v1/completions", completion)[1]["choices"]
    assert choice["text"] == document["content"]


def test_a_path_asked_in_the_wrong_way_says_which_is_right(server: Server) -> None:
    status, document, headers = server.ask("GET", "/v1/chat/completions")
    assert status == 405
    assert "answers POST, not GET" in document["error"]["message"]
    assert {name.lower(): value for name, value in headers.items()}["allow"] == "POST"
    status, document = server.post("/api/tags", {})  # in its own protocol's form
    assert (status, type(document["error"])) == (405, str)
    status, document = server.get("/")
    assert (status, document["name"], document["status"]) == (200, "localq", "ok")
