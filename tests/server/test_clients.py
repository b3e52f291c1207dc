"""The programs' own clients against the server; each is left out where it is not installed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.server.serving import MODEL, Server

STORY = ", there was a little girl named Lily. She"
SAY: Any = [{"role": "user", "content": "Once upon a time"}]
PAINT: Any = {
    "name": "paint",
    "description": "Paint it.",
    "parameters": {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
    },
}
SCHEMA: Any = {
    "title": "Pet",
    "description": "A pet.",
    "type": "object",
    "properties": {"kind": {"type": "string", "enum": ["cat", "dog"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def no_warnings_of_strangers() -> Iterator[None]:
    """What clients and what they import have to say of themselves is not the server's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def client(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name)
        return import_module(name)


def test_openai(server: Server) -> None:
    openai = client("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as api:
        assert [model.id for model in api.models.list()] == [MODEL]
        settings: Any = {"model": MODEL, "temperature": 0, "max_tokens": 12}
        whole = api.chat.completions.create(messages=SAY, **settings)
        assert whole.choices[0].message.content == STORY
        stream = api.chat.completions.create(
            messages=SAY, stream=True, stream_options={"include_usage": True}, **settings
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == STORY
        assert chunks[-1].usage.completion_tokens == 12
        text = api.completions.create(prompt="Once upon a time", **settings)
        assert text.choices[0].text == STORY
        tool = {"type": "function", "function": PAINT}
        settings["max_tokens"] = 100
        call = api.chat.completions.create(
            messages=SAY, tools=[tool], tool_choice="required", **settings
        )
        (made,) = call.choices[0].message.tool_calls
        assert json.loads(made.function.arguments)["colour"] in ("red", "blue")
        form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA}}
        shaped = api.chat.completions.create(messages=SAY, response_format=form, **settings)
        assert json.loads(shaped.choices[0].message.content)["kind"] in ("cat", "dog")
        with pytest.raises(openai.NotFoundError):
            api.chat.completions.create(messages=SAY, model="gpt-4o")
        with pytest.raises(openai.BadRequestError):
            api.chat.completions.create(messages=SAY, model=MODEL, temperature=-1)


def test_openai_helpers_for_streams(server: Server) -> None:
    openai = client("openai")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as api,
        api.chat.completions.stream(
            messages=SAY, model=MODEL, temperature=0, stop=" girl"
        ) as stream,
    ):
        found = stream.until_done().get_final_completion()
        assert found.choices[0].message.content == ", there was a little"


@pytest.mark.slow  # to import
def test_langchain_openai(server: Server) -> None:
    module = client("langchain_openai")
    chat = module.ChatOpenAI(
        base_url=f"{server.url}/v1", api_key="none", model=MODEL, temperature=0, max_tokens=100
    )
    assert chat.invoke("Once upon a time").content.startswith(STORY)
    assert "".join(part.content for part in chat.stream("Once upon a time")).startswith(STORY)
    bound = chat.bind_tools([{"type": "function", "function": PAINT}], tool_choice="paint")
    (call,) = bound.invoke("Once upon a time").tool_calls
    assert call["args"]["colour"] in ("red", "blue")
    shaped = chat.with_structured_output(SCHEMA, method="json_schema")
    assert shaped.invoke("Once upon a time")["kind"] in ("cat", "dog")


@pytest.mark.slow  # to import
def test_litellm(server: Server) -> None:
    litellm = client("litellm")
    settings: Any = {
        "model": f"openai/{MODEL}",
        "api_base": f"{server.url}/v1",
        "api_key": "none",
        "temperature": 0,
        "max_tokens": 12,
        "messages": SAY,
    }
    assert litellm.completion(**settings).choices[0].message.content == STORY
    parts = litellm.completion(stream=True, **settings)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == STORY
