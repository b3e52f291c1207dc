"""The programs' own clients against the server; each is left out where it is not installed."""

from __future__ import annotations

import gc
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
        gc.collect()  # connections that they left open


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


def test_openai_embeddings_and_responses(server: Server) -> None:
    openai = client("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as api:
        found = api.embeddings.create(model=MODEL, input=["a cat", "a dog"])
        assert [len(one.embedding) for one in found.data] == [64, 64]
        settings: Any = {"model": MODEL, "temperature": 0, "max_output_tokens": 12}
        answer = api.responses.create(input="Once upon a time", **settings)
        assert answer.output_text == STORY
        with api.responses.stream(input="Once upon a time", **settings) as stream:
            said = [one.delta for one in stream if one.type == "response.output_text.delta"]
        assert "".join(said) == STORY


@pytest.mark.slow  # to import
def test_anthropic(server: Server) -> None:
    anthropic = client("anthropic")
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as api:
        settings: Any = {"model": MODEL, "max_tokens": 12, "messages": SAY}
        settings["extra_body"] = {"temperature": 0}
        assert api.messages.create(**settings).content[0].text == STORY
        with api.messages.stream(**settings) as stream:
            assert "".join(stream.text_stream) == STORY
            assert stream.get_final_message().usage.output_tokens == 12
        settings["max_tokens"] = 100
        tool = {"name": "paint", "input_schema": PAINT["parameters"]}
        made = api.messages.create(tools=[tool], tool_choice={"type": "any"}, **settings)
        assert made.stop_reason == "tool_use"
        assert made.content[0].input["colour"] in ("red", "blue")
        del settings["max_tokens"], settings["extra_body"]
        assert api.messages.count_tokens(**settings).input_tokens == 5
        with pytest.raises(anthropic.NotFoundError):
            api.messages.create(model="claude-x", max_tokens=1, messages=SAY)


def test_ollama(server: Server) -> None:
    ollama = client("ollama")
    api = ollama.Client(host=server.url)
    options = {"temperature": 0, "num_predict": 12}
    assert api.chat(MODEL, SAY, options=options).message.content == STORY
    parts = api.chat(MODEL, SAY, options=options, stream=True)
    assert "".join(part.message.content for part in parts) == STORY
    assert api.generate(MODEL, "Once upon a time", options=options).response == STORY
    assert len(api.embed(MODEL, "a cat").embeddings[0]) == 64
    assert [one.model for one in api.list().models] == [MODEL]
    assert api.show(MODEL).details.format == "gguf"
    assert api.ps().models[0].context_length == 512
    with pytest.raises(ollama.ResponseError, match="there is no model"):
        api.chat("llama3", SAY)


@pytest.mark.slow  # to import
def test_langchain_ollama_and_embeddings(server: Server) -> None:
    module = client("langchain_ollama")
    chat = module.ChatOllama(base_url=server.url, model=MODEL, temperature=0, num_predict=12)
    assert chat.invoke("Once upon a time").content == STORY
    assert "".join(part.content for part in chat.stream("Once upon a time")) == STORY
    embeddings = client("langchain_openai").OpenAIEmbeddings(
        base_url=f"{server.url}/v1", api_key="none", model=MODEL, check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_query("a cat")) == 64
