"""Replies of a model that was taught to think and to call tools: what it says is forced by a
grammar, for the demo model was taught neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localq.formats.gguf import read_gguf
from localq.services.hosting.hosted import HostedModel
from tests.server.serving import Server

TEMPLATE = """{%- if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>
<tool_call>{"name": ..., "arguments": ...}</tool_call>{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c | tojson }}</tool_call>{% endfor %}
{%- endfor %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"""
CALLS = [
    f'<tool_call>{{"name": "paint", "arguments": {{"colour": "{c}"}}}}</tool_call>' for c in "ab"
]
TOOL = {"type": "function", "function": {"name": "paint", "parameters": {"type": "object"}}}


def always(text: str) -> str:
    return f"root ::= {json.dumps(text)}"


@pytest.fixture(autouse=True)
def taught(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {**read_gguf(server.file).metadata, "tokenizer.chat_template": TEMPLATE}
    monkeypatch.setattr(HostedModel, "metadata", property(lambda model: metadata))


def ask(server: Server, text: str, **change: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Hi"}], "grammar": always(text), **change}
    return server.post("/v1/chat/completions", body)[1]


def deltas(text: str) -> list[dict[str, Any]]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line)["choices"][0]["delta"] for line in lines]


def test_thinking_calls_and_words_are_told_apart(server: Server) -> None:
    text = f"<think>well</think>\n\nI paint.\n{CALLS[0]}\n{CALLS[1]}"
    (choice,) = ask(server, text, tools=[TOOL])["choices"]
    message = choice["message"]
    assert message["reasoning_content"] == "well"
    assert message["content"] == "I paint."
    made = [call["function"]["arguments"] for call in message["tool_calls"]]
    assert [json.loads(one) for one in made] == [{"colour": "a"}, {"colour": "b"}]
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert choice["finish_reason"] == "tool_calls"

    streamed = deltas(ask(server, text, tools=[TOOL], stream=True))
    assert "".join(one.get("reasoning_content", "") for one in streamed) == "well"
    assert "".join(one.get("content") or "" for one in streamed) == "I paint."
    calls = [call for one in streamed for call in one.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 1]
    assert [call["function"]["arguments"] for call in calls] == made

    (choice,) = ask(server, text, tools=[TOOL], parallel_tool_calls=False)["choices"]
    assert len(choice["message"]["tool_calls"]) == 1


def test_without_tools_a_call_is_words(server: Server) -> None:
    for change in ({}, {"tools": [TOOL], "tool_choice": "none"}):
        (choice,) = ask(server, CALLS[0], **change)["choices"]
        assert choice["message"]["content"] == CALLS[0]
        assert "tool_calls" not in choice["message"]


def test_the_template_gets_tools_and_variables(server: Server) -> None:
    def prompt(**change: Any) -> str:
        body = {"messages": [{"role": "user", "content": "Hi"}], **change}
        return str(server.post("/apply-template", body)[1]["prompt"])

    assert "paint" in prompt(tools=[TOOL])
    assert "paint" not in prompt(tools=[TOOL], tool_choice="none")
    assert prompt().endswith("<|im_start|>assistant\n")
    assert prompt(chat_template_kwargs={"enable_thinking": False}).endswith("<think></think>")
    assert prompt(reasoning_effort="none").endswith("<think></think>")


def test_texts_are_gone_on_with_without_the_template(server: Server) -> None:
    said = "<think>well</think>Hello"
    answer = server.post(
        "/v1/completions", {"prompt": "x", "grammar": always(said), "max_tokens": 100}
    )[1]
    assert answer["choices"][0]["text"] == said  # continued as it is
    shown = server.post("/api/show", {})[1]
    assert set(shown["capabilities"]) == {"completion", "tools", "thinking"}
