"""OpenAI's API, as its shapes go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.serving import MODEL, Server

ONCE = [{"role": "user", "content": "Once upon a time"}]
GREEDY = {"temperature": 0, "max_tokens": 12}
STORY = ", there was a little girl named Lily. She"


def events(text: str) -> list[Any]:
    """The documents of a stream, which has to end as OpenAI's do."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_chat_is_answered(server: Server) -> None:
    status, document = server.post("/v1/chat/completions", {"messages": ONCE, **GREEDY})
    assert status == 200
    (choice,) = document["choices"]
    assert choice["message"] == {"role": "assistant", "content": STORY, "refusal": None}
    assert choice["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 12
    assert document["usage"]["total_tokens"] == document["usage"]["prompt_tokens"] + 12
    assert document["model"] == MODEL


def test_a_stream_has_the_same_text_and_usage_only_when_asked(server: Server) -> None:
    body = {"messages": ONCE, "stream": True, **GREEDY}
    status, text = server.post("/v1/chat/completions", body)
    assert status == 200
    chunks = events(text)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    assert said == STORY
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert all("usage" not in one for one in chunks)

    body["stream_options"] = {"include_usage": True}
    chunks = events(server.post("/v1/chat/completions", body)[1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert all(one["usage"] is None for one in chunks[:-1])


def test_n_replies_differ_and_a_seed_repeats_them(server: Server) -> None:
    body = {"messages": ONCE, "n": 3, "seed": 7, "temperature": 1.5, "max_tokens": 12}
    first = server.post("/v1/chat/completions", body)[1]
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    again = server.post("/v1/chat/completions", body)[1]
    assert [choice["message"]["content"] for choice in again["choices"]] == texts
    assert first["usage"]["completion_tokens"] > first["usage"]["prompt_tokens"]


def test_stop_strings_end_the_text(server: Server) -> None:
    body = {"messages": ONCE, **GREEDY, "stop": [" girl", "never"]}
    (choice,) = server.post("/v1/chat/completions", body)[1]["choices"]
    assert choice["message"]["content"] == ", there was a little"
    assert choice["finish_reason"] == "stop"


def test_log_probabilities_belong_to_the_text(server: Server) -> None:
    body = {"messages": ONCE, **GREEDY, "logprobs": True, "top_logprobs": 3}
    (choice,) = server.post("/v1/chat/completions", body)[1]["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(one["token"] for one in tokens) == STORY
    assert all(one["top_logprobs"][0]["token"] == one["token"] for one in tokens)
    assert all(len(one["top_logprobs"]) == 3 for one in tokens)
    streamed = events(server.post("/v1/chat/completions", {**body, "stream": True})[1])
    parts = [one["choices"][0]["logprobs"] for one in streamed]
    assert [one for part in parts if part for one in part["content"]] == tokens


def test_a_schema_is_followed(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["cat", "dog"]}},
        "required": ["ok", "kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": ONCE, "temperature": 0, "max_tokens": 200, "response_format": form}
    (choice,) = server.post("/v1/chat/completions", body)[1]["choices"]
    value = json.loads(choice["message"]["content"])
    assert set(value) == {"ok", "kind"}
    assert value["kind"] in ("cat", "dog")


def test_a_call_that_is_demanded_is_made(server: Server) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "paint",
            "parameters": {
                "type": "object",
                "properties": {"colour": {"enum": ["red", "blue"]}},
                "required": ["colour"],
            },
        },
    }
    body = {"messages": ONCE, "tools": [tool], "tool_choice": "required", "max_tokens": 200}
    (choice,) = server.post("/v1/chat/completions", body)[1]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "paint"
    assert json.loads(call["function"]["arguments"])["colour"] in ("red", "blue")
    chunks = events(server.post("/v1/chat/completions", {**body, "stream": True})[1])
    deltas = [one["choices"][0]["delta"] for one in chunks]
    (streamed,) = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert streamed["index"] == 0
    assert streamed["function"]["name"] == "paint"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_completions_go_on_with_texts_and_tokens(server: Server) -> None:
    body = {"prompt": ["Once upon a time", "The cat"], "n": 2, **GREEDY, "echo": True}
    document = server.post("/v1/completions", body)[1]
    texts = [choice["text"] for choice in document["choices"]]
    assert texts[0] == texts[1] == "Once upon a time" + STORY
    assert texts[2].startswith("The cat")
    assert document["usage"]["completion_tokens"] == 48
    body = {"prompt": [1, 403, 407], "stream": True, "logprobs": 1, **GREEDY}
    chunks = events(server.post("/v1/completions", body)[1])
    tokens = [
        token
        for one in chunks
        for token in (one["choices"][0]["logprobs"] or {"tokens": []})["tokens"]
    ]
    assert "".join(tokens) == "".join(one["choices"][0]["text"] for one in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_models_are_listed_with_their_context(server: Server) -> None:
    (model,) = server.get("/v1/models")[1]["data"]
    assert model["id"] == MODEL
    assert model["meta"]["n_ctx"] == 512
    assert server.get(f"/v1/models/{MODEL}")[1]["id"] == MODEL


def test_a_prompt_that_is_too_long_is_refused_whole(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "cat " * 2000}]}
    status, document = server.post("/v1/chat/completions", body)
    assert status == 400
    assert document["error"]["code"] == "context_length_exceeded"
    assert "512" in document["error"]["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "queen", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"n": True}, "n"),
        ({"stop": [5]}, "stop[0]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"top_logprobs": 3}, "logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"stream": 1}, "stream"),
    ],
)
def test_what_is_wrong_is_named(server: Server, change: dict[str, Any], param: str) -> None:
    body = {"messages": ONCE, "max_tokens": 1, **change}
    status, document = server.post("/v1/chat/completions", body)
    assert status == 400
    assert document["error"]["type"] == "invalid_request_error"
    assert document["error"]["param"] == param


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"$ref": "#/$defs/nowhere"}, {"type": "string", "pattern": "("}],
)
def test_a_schema_that_makes_no_sense_harms_nobody(server: Server, schema: object) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": ONCE, "max_tokens": 4, "response_format": form}
    status, document = server.post("/v1/chat/completions", body)
    assert status in (200, 400)
    assert "error" in document or document["choices"]
    assert server.post("/v1/chat/completions", {"messages": ONCE, **GREEDY})[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "../../etc/passwd",
        "/etc/passwd",
        "~root",
        "C:\\x.gguf",
        "a\x1b[2Jb",
        "x" * 5000,
        "",
    ],
)
def test_an_unknown_model_is_told_which_there_are(server: Server, name: str) -> None:
    status, document = server.post("/v1/chat/completions", {"model": name, "messages": ONCE})
    assert status == 404
    assert document["error"]["code"] == "model_not_found"
    assert MODEL in document["error"]["message"]
    assert "passwd: " not in document["error"]["message"]
