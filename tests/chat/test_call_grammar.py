"""Grammars by which a model has to call a tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from localq.chat_format.reply import reply_format
from localq.chat_format.reply.call_forms import CALL_FORMS
from localq.chat_format.reply.call_rules import CALL_RULES
from localq.engine.client import Engine
from localq.engine.sampling import SamplingParams
from localq.engine.settings import LoadSettings
from localq.errors import NotFoundError
from tests.chat.test_reply import DISTINCT, FORMATS
from tests.engine.test_engine import DEMO, make_gguf

SCHEMA = {
    "type": "object",
    "properties": {
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "integer", "enum": [1, 2, 30]},
        "exact": {"type": "boolean"},
        "where": {"anyOf": [{"type": "null"}, {"const": 5}]},
        "more": {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        },
    },
    "required": ["days", "unit"],
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    story = make_gguf(DEMO, tmp_path_factory.mktemp("story"))
    with Engine() as engine:
        engine.load(LoadSettings(story, n_ctx=512, n_threads=1))
        yield engine


def test_what_a_model_has_to_write_is_a_call(engine: Engine) -> None:
    """A model that knows nothing of calls writes one in every format, and it is read as one."""
    names = set()
    for seed, markers in enumerate(FORMATS):
        format_ = replace(reply_format(markers), thinking=())
        format_ = replace(format_, form=replace(format_.form, thinking=None))
        prompt = ">>>" if format_.name == "functionary" else ""
        sampling = SamplingParams(
            grammar=format_.call_grammar(TOOLS, prompt), max_tokens=400, seed=seed, temperature=1.5
        )
        text = engine.generate("Once", sampling, on_text=lambda _: None).text
        parser = format_.parser(prompt, TOOLS)
        parser.feed(text)
        parser.finish()
        (call,) = parser.message.tool_calls
        assert parser.message.content.strip() == "", text
        names.add(call.name)
        arguments: dict[str, Any] = json.loads(call.arguments)
        if call.name == "get_weather":
            assert arguments.pop("days") in (1, 2, 30)
            assert arguments.pop("unit") in ("C", "F")
            assert isinstance(arguments.pop("exact", True), bool)
            assert arguments.pop("where", None) in (None, 5)
            assert set(arguments.pop("more", {})) <= {"a", "b"}
        assert not arguments, text
    assert names == {"get_weather", "now"}


def test_thinking_comes_first(engine: Engine) -> None:
    format_ = reply_format("<tool_call> <think>")
    form = replace(format_.form, thinking=("<think>", "e"))  # soon written
    grammar = replace(format_, form=form).call_grammar(TOOLS, "<think>\n", "now")
    sampling = SamplingParams(grammar=grammar, max_tokens=400, seed=1)
    text = engine.generate("Once", sampling, on_text=lambda _: None).text
    thought, _, call = text.partition("e")
    assert thought
    assert call.strip() == '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    with pytest.raises(NotFoundError, match="no tool named 'other'"):
        format_.call_grammar(TOOLS, "", "other")


def test_every_format_has_its_form() -> None:
    assert {rule.name for rule in CALL_RULES} <= set(CALL_FORMS)
    assert {e["format"].removesuffix("+thinking") for e in DISTINCT} <= {*CALL_FORMS, "plain"}
