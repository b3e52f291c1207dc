"""/v1/responses"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.serving import MODEL, Server

STORY = ", there was a little girl named Lily. She"
ASK = {"model": MODEL, "input": "Once upon a time", "temperature": 0, "max_output_tokens": 12}
TOOL = {
    "type": "function",
    "name": "paint",
    "parameters": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
    },
}


def events(text: str) -> list[Any]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_text_is_answered(server: Server) -> None:
    document = server.post("/v1/responses", ASK)[1]
    (item,) = document["output"]
    assert item["content"][0]["text"] == STORY
    assert document["status"] == "incomplete"
    assert document["incomplete_details"] == {"reason": "max_output_tokens"}
    assert document["usage"]["output_tokens"] == 12


def test_events_are_numbered_and_end_with_the_whole(server: Server) -> None:
    found = events(server.post("/v1/responses", {**ASK, "stream": True})[1])
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    kinds = [one["type"] for one in found]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    said = [one["delta"] for one in found if one["type"] == "response.output_text.delta"]
    assert "".join(said) == STORY == found[-1]["response"]["output"][0]["content"][0]["text"]


def test_a_tool_that_must_be_called_is(server: Server) -> None:
    known: list[Any] = [TOOL, {"type": "web_search"}]
    body = {**ASK, "max_output_tokens": 200, "tools": known, "tool_choice": "required"}
    (item,) = server.post("/v1/responses", body)[1]["output"]
    assert (item["type"], item["name"]) == ("function_call", "paint")
    answered: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Once"}]},
        {"type": "reasoning", "summary": []},
        item,
        {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"},
    ]
    body = {**ASK, "input": answered, "tools": known, "instructions": "Be kind."}
    assert server.post("/v1/responses", body)[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        {"input": None},
        {"input": []},
        {"previous_response_id": "resp_1"},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
    ],
)
def test_what_is_wrong_is_refused(server: Server, change: dict[str, Any]) -> None:
    status, document = server.post("/v1/responses", {**ASK, **change})
    assert status == 400
    assert document["error"]["message"]
