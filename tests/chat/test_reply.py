"""Replies taken apart while they come: recorded ones of all families, and broken ones."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.chat_format.message import ChatMessage
from localq.chat_format.reply import (
    CallMade,
    ContentText,
    Event,
    ReasoningText,
    ReplyFormat,
    ReplyParser,
    reply_format,
)
from tests.reference.record_replies import REPLIES, TOOLS, meaning, replies_of

RECORDED: list[dict[str, Any]] = json.loads(REPLIES.read_text(encoding="utf-8"))
# One of each kind: many templates write the same.
DISTINCT = list(
    {
        (e["format"], bool(e["content"]), bool(e["reasoning"]), json.dumps(e["calls"])): e
        for e in RECORDED
    }.values()
)
FORMATS = list({e["format"]: e["markers"] for e in RECORDED}.values())
HERMES = reply_format("<tool_call> </think>")
LLAMA = reply_format('<|python_tag|> "parameters": dictionary of argument name')


def read(parser: ReplyParser, pieces: Iterable[str]) -> ChatMessage:
    """The message, of which all has been told by events too."""
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
    events += parser.finish()
    message = parser.message
    assert "".join(e.text for e in events if isinstance(e, ContentText)) == message.content
    assert "".join(e.text for e in events if isinstance(e, ReasoningText)) == message.reasoning
    made = [e for e in events if isinstance(e, CallMade)]
    assert [e.index for e in made] == list(range(len(made)))
    assert tuple(e.call for e in made) == message.tool_calls
    assert len({call.id for call in message.tool_calls} - {""}) == len(message.tool_calls)
    assert parser.pending == 0
    return message


def parse(format_: ReplyFormat, text: str, prompt: str = "", tools: Any = TOOLS) -> ChatMessage:
    return read(format_.parser(prompt, tools), [text])


def test_recorded_replies_are_read_as_what_was_written() -> None:
    assert len(RECORDED) > 450
    assert len(FORMATS) >= 25
    for entry in RECORDED:
        format_ = reply_format(entry["markers"])
        message = read(format_.parser(entry["prompt"], TOOLS), entry["reply"])
        expected = (entry["content"], entry["reasoning"], entry["calls"])
        assert meaning(message) == expected, entry


def test_replies_are_read_the_same_wherever_they_are_cut() -> None:
    for entry in DISTINCT:
        format_ = reply_format(entry["markers"])
        data = entry["reply"].encode()
        for cut in range(len(data)):
            decode = codecs.getincrementaldecoder("utf-8")().decode
            pieces = (decode(data[:cut]), decode(data[cut:]))
            message = read(format_.parser(entry["prompt"], TOOLS), pieces)
            expected = (entry["content"], entry["reasoning"], entry["calls"])
            assert meaning(message) == expected, (cut, entry)


def test_a_reply_that_breaks_off_loses_nothing() -> None:
    for entry in DISTINCT:
        format_ = reply_format(entry["markers"])
        whole = entry["reply"]
        for cut in range(0, len(whole), 3):
            message = parse(format_, whole[:cut], entry["prompt"])
            told = len(message.tool_calls) < len(entry["calls"])
            if format_.name != "harmony" and told and not message.tool_calls:
                rest = bare(format_, whole[:cut])
                assert rest == bare(format_, message.reasoning + message.content), entry


def bare(format_: ReplyFormat, text: str) -> str:
    """The text without markers and white space."""
    for mark in sorted((*format_.markers, ">>>all", ">>>"), key=len, reverse=True):
        text = text.replace(mark, "")
    text = "".join(text.split())
    return text.removeprefix("all") if format_.name == "functionary" else text


def test_without_tools_nothing_is_a_call() -> None:
    for entry in DISTINCT:
        if entry["calls"]:
            message = parse(reply_format(entry["markers"]), entry["reply"], entry["prompt"], ())
            assert not message.tool_calls
            assert entry["calls"][0][0] in message.reasoning + message.content, entry


def test_plain_text_is_kept_byte_for_byte() -> None:
    text = " \n Hello <think> [TOOL_CALLS] {} \n\n"
    assert parse(reply_format("{{ messages }}"), text) == ChatMessage("assistant", text)
    assert parse(HERMES, "Hello \n").content == "Hello \n"


def test_thinking() -> None:
    for prompt, text in (
        ("<|assistant|>\n", "<think>\nHm.\n</think>\n\nYes"),
        ("<|assistant|><think>\n", "Hm.\n</think>\n\nYes"),
        ("<|assistant|><think>\n", "<think>Hm.</think>Yes"),
    ):
        assert parse(HERMES, text, prompt) == ChatMessage("assistant", "Yes", "Hm.")
    assert parse(HERMES, "Hm", "<think>") == ChatMessage("assistant", "", "Hm")
    said = "The tag <think> begins it, </think> ends it."
    assert parse(HERMES, said) == ChatMessage("assistant", said)
    assert parse(HERMES, "</think>\n\nYes", "") == ChatMessage("assistant", "Yes")


def test_thinking_is_told_as_it_comes() -> None:
    parser = HERMES.parser("<think>\n", TOOLS)
    assert parser.feed("One ") == [ReasoningText("One")]
    assert parser.feed("two</thi") == [ReasoningText(" two")]
    assert parser.feed("nk>\n\nYes<tool_") == [ContentText("Yes")]
    assert parser.feed('call>{"name": "now"}') == []
    assert parser.pending > 10
    assert isinstance(parser.feed("</tool_call>")[0], CallMade)
    assert parser.pending == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<tool_call>{"name": "now", "arguments": {bad}}</tool_call> more', None),
        ('<tool_call>{"name": "now", "arguments": [1]}</tool_call>', None),
        ('<tool_call>{"name": 5}</tool_call>', None),
        ('<tool_call>{"name": "now", "arguments": {"a": NaN}}</tool_call>', None),
        ('<tool_call>{"name": "now", "arguments": {}', None),
        ('<tool_call>{"name": "now"</tool_call>', None),
        ("<tool_call>some words</tool_call>", None),
        ("<tool_call>", None),
        ("<tool_call>" + "[" * 5000 + "]" * 5000, None),
        ('<tool_call>{"name": "a b"}</tool_call>', None),
        ("a < b and <tool_cal", None),
    ],
)
def test_malformed_calls_are_said(text: str, said: str | None) -> None:
    assert parse(HERMES, text) == ChatMessage("assistant", said or text)


def test_a_good_call_after_a_bad_one() -> None:
    bad = '<tool_call>{"name": "now", "arguments": {bad}}</tool_call>'
    message = parse(HERMES, f'{bad}\n<tool_call>\n{{"name": "now"}}\n</tool_call>')
    assert message.content == bad
    assert [call.name for call in message.tool_calls] == ["now"]


@pytest.mark.parametrize(
    ("format_", "text", "arguments"),
    [
        (HERMES, '<tool_call>{"name": "now", "arguments": "{\\"a\\": 1}"}</tool_call>', {"a": 1}),
        (HERMES, '<tool_call>{"name": "now", "arguments": {"a": "x\ny"}}', {"a": "x\ny"}),
        (HERMES, '<tool_call>```json\n{"name": "now"}\n```</tool_call>', {}),
        (LLAMA, '{"name": "now", "parameters": {"a": 1}}', {"a": 1}),
        (LLAMA, '  {"type": "function", "function": {"name": "now"}}', {}),
        (LLAMA, '[now(a=1, b="x, [y]")]', {"a": 1, "b": "x, [y]"}),
        (LLAMA, '<|python_tag|>now.call(a="x")', {"a": "x"}),
        (LLAMA, '<function=now>{"a": 1}</function>', {"a": 1}),
        (
            reply_format("<tool_call> <function="),
            "<function=now>\n<parameter=a>\n</parameter>\n is a tag\n</parameter>\n</function>",
            {"a": "</parameter>\n is a tag"},
        ),
        (
            reply_format("<function_calls>"),
            "<function_calls>\nnow(a=True)\n</function_calls>",
            {"a": True},
        ),
        (
            reply_format("<start_function_call>"),
            "<start_function_call>call:now{a:<escape>x<escape>,b:[1,true]}<end_function_call>",
            {"a": "x", "b": [1, True]},
        ),
        (
            reply_format('<function name="'),
            '<function name="now"><param name="a"><![CDATA[<b>]]></param></function>',
            {"a": "<b>"},
        ),
    ],
)
def test_ways_of_writing_a_call(format_: ReplyFormat, text: str, arguments: Any) -> None:
    message = read(format_.parser("", TOOLS), text)
    assert meaning(message) == ("", "", [["now", arguments]])


@pytest.mark.parametrize(
    "text",
    ['{"name": "unknown", "parameters": {}}', '{"answer": 42}', "[1, 2]", "{", "[now", "{]"],
)
def test_json_that_is_no_call_is_said(text: str) -> None:
    assert parse(LLAMA, text) == ChatMessage("assistant", text)
    assert read(LLAMA.parser("", TOOLS), text) == ChatMessage("assistant", text)


def test_values_are_what_the_schema_says() -> None:
    tags = "".join(
        f"<parameter={name}>\n{value}\n</parameter>\n"
        for name, value in (
            ("city", "007"),
            ("days", "7"),
            ("exact", "True"),
            ("where", "{'a': None}"),
            ("tags", "[broken"),
            ("other", "1.5"),
        )
    )
    call = f"<tool_call>\n<function=get_weather>\n{tags}</function>\n</tool_call>"
    message = parse(reply_format("<tool_call> <function="), call)
    assert json.loads(message.tool_calls[0].arguments) == {
        "city": "007",
        "days": 7,
        "exact": True,
        "where": {"a": None},
        "tags": "[broken",
        "other": 1.5,
    }


def test_channels_without_headers_or_cut_off() -> None:
    harmony = reply_format("<|channel|>analysis<|message|>")
    assert parse(harmony, "Just text.").content == "Just text."
    assert parse(harmony, "<|channel|>final<|message|>Hi<|end|><|start|>assi").content == "Hi"
    call = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{bad<|call|>"
    assert parse(harmony, call).content == call


def test_markers_are_named_by_the_tokens_they_are_made_of() -> None:
    assert {"<|channel>", "<channel|>"} <= reply_format("<|channel>thought").markers
    solar = reply_format("<|begin|>assistant<|think|> <|begin|>assistant<|content|>").markers
    assert {"<|begin|>", "<|think|>", "<|content|>", "<|end|>"} <= solar
    assert max(len(reply_format(text).markers) for text in FORMATS) < 30  # a request's limit is 64


MARKS = sorted({mark for text in FORMATS for mark in reply_format(text).markers} | {">>>"})
FRAGMENTS = st.sampled_from(
    [
        *MARKS,
        *("{", "}", "[", "]", '"', "'", "\\", "\n", " ", "now", "(", ")", ",", "=", ":", "a", "<"),
        *('{"name": "now", "arguments": {}}', "now(a=1)", "call:now{", "all\n", "functions.now:0"),
    ]
)


@given(st.sampled_from(FORMATS), st.lists(FRAGMENTS, max_size=12), st.data())
def test_any_text_is_read_the_same_wherever_it_is_cut(
    markers: str, fragments: list[str], data: st.DataObject
) -> None:
    text = "".join(fragments)
    format_ = reply_format(markers)
    prompt = data.draw(st.sampled_from(["", *(open_ for open_, _ in format_.thinking)]))
    whole = parse(format_, text, prompt)
    cut = data.draw(st.integers(0, len(text)))
    for pieces in (text, (text[:cut], text[cut:])):
        assert meaning(read(format_.parser(prompt, TOOLS), pieces)) == meaning(whole)
    if format_.name != "harmony" and not whole.tool_calls:
        assert bare(format_, text) == bare(format_, whole.reasoning + whole.content)


@pytest.mark.slow
def test_templates_write_what_is_read_back(material: Path) -> None:
    kept = sum(
        len(list(replies_of(path.stem, path.read_text(encoding="utf-8"))))
        for path in (material / "tokenizers" / "chat-templates").glob("*.jinja")
    )
    assert kept >= len(RECORDED)
