"""Anthropic's API: its shapes, and the order of its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.serving import MODEL, Server

ONCE = {"messages": [{"role": "user", "content": "Once upon a time"}], "temperature": 0}
STORY = ", there was a little girl named Lily. She"
ASK = {**ONCE, "model": MODEL, "max_tokens": 12}
TOOL = {
    "name": "paint",
    "input_schema": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
    },
}


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if lines:
            document = json.loads(lines["data"])
            assert document["type"] == lines["event"]
            found.append((lines["event"], document))
    return found


def test_a_message_is_answered(server: Server) -> None:
    status, document = server.post("/v1/messages", ASK)
    assert status == 200
    assert document["content"] == [{"type": "text", "text": STORY}]
    assert document["stop_reason"] == "max_tokens"
    usage = document["usage"]
    assert usage["output_tokens"] == 12
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 5


def test_events_come_in_order(server: Server) -> None:
    found = events(server.post("/v1/messages", {**ASK, "stream": True})[1])
    names = [name for name, _ in found]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(names[2:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    said = [d["delta"]["text"] for name, d in found if name == "content_block_delta"]
    assert "".join(said) == STORY
    assert found[-2][1]["usage"]["output_tokens"] == 12


def test_a_tool_that_must_be_used_is(server: Server) -> None:
    body = {**ASK, "max_tokens": 200, "tools": [TOOL], "tool_choice": {"type": "any"}}
    document = server.post("/v1/messages", body)[1]
    (block,) = document["content"]
    assert document["stop_reason"] == "tool_use"
    assert (block["type"], block["name"]) == ("tool_use", "paint")
    assert block["input"]["colour"] in ("red", "blue")
    found = events(server.post("/v1/messages", {**body, "stream": True})[1])
    (delta,) = [d["delta"] for name, d in found if name == "content_block_delta"]
    assert json.loads(delta["partial_json"]) == block["input"]


def test_what_changes_in_front_does_not_spoil_what_was_read(server: Server) -> None:
    text = "The cat sat on the mat and looked at the big red ball. " * 4
    for number in range(2):
        header = {"type": "text", "text": f"x-anthropic-billing-header: cch={number};"}
        body = {**ASK, "max_tokens": 1, "system": [header, {"type": "text", "text": text}]}
        usage = server.post("/v1/messages", body)[1]["usage"]
    assert usage["cache_read_input_tokens"] > 50
    assert usage["input_tokens"] < 5


def test_tokens_are_counted_without_generating(server: Server) -> None:
    assert server.post("/v1/messages/count_tokens", ONCE)[1] == {"input_tokens": 5}


def test_a_conversation_with_tools_is_read(server: Server) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "paint", "input": {"colour": "red"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "ok"}],
    }
    turns: list[Any] = [
        {"role": "user", "content": "Once upon a time"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "And"}]},
    ]
    status, document = server.post("/v1/messages", {**ASK, "messages": turns, "tools": [TOOL]})
    assert status == 200
    assert document["content"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"max_tokens": None}, 400),
        ({"messages": []}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400),
        ({"tool_choice": {"type": "tool", "name": "none"}}, 400),
        ({"model": "claude-x"}, 404),
    ],
)
def test_errors_have_its_form(server: Server, change: dict[str, Any], status: int) -> None:
    found, document = server.post("/v1/messages", {**ASK, **change})
    assert found == status
    assert document["type"] == "error"
    assert document["error"]["message"]
