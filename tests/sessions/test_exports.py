"""Sessions as texts, and texts as sessions."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError
from localq.paths import Paths
from localq.sessions import (
    Attachment,
    MessageState,
    NewMessage,
    Preset,
    Session,
    SessionStore,
    ToolCall,
)
from localq.sessions.exports import FORMAT, ExportFormat, export
from localq.sessions.imports import ImportedSession, read_session


@pytest.fixture
def store(home: Paths) -> SessionStore:
    return SessionStore(home)


def branched(store: SessionStore) -> Session:
    session = store.create(title="A <b>title</b>", model="m:Q4_0", preset=Preset("p", "Be brief."))
    hello = NewMessage("user", "Hello", attachments=(Attachment("a.py", "```\n"),))
    hi = NewMessage("assistant", "Hi <script>alert(1)</script>", reasoning="A\nthought", model="m")
    first, reply = store.say(session.id, None, hello, hi)
    store.say(session.id, reply, NewMessage("user", "one way"), NewMessage("assistant", "1"))
    call = NewMessage("assistant", "", tool_calls=(ToolCall("f", '{"a": 1}', "c1"),))
    answer = NewMessage("tool", "42", tool_call_id="c1")
    last = NewMessage("assistant", "| a |\n|---|\n| 1 |", stop="cancelled", left_out_id=first)
    store.say(session.id, reply, NewMessage("user", "another"), call, answer, last)
    return store.session(session.id)


def exported(store: SessionStore, session: Session, form: ExportFormat) -> str:
    return export(*store.opened(session.id), form)


def taken_in(store: SessionStore, found: ImportedSession) -> Session:
    return store.create(
        title=found.title,
        model=found.model,
        preset=found.preset,
        messages=found.messages,
        leaf=found.leaf,
    )


def test_json_comes_back_as_it_went(store: SessionStore) -> None:
    text = exported(store, branched(store), ExportFormat.JSON)
    assert json.loads(text)["format"] == FORMAT
    again = taken_in(store, read_session(text.encode(), "x.json"))
    second = exported(store, again, ExportFormat.JSON)
    changing = ("created_at", "ended_at", "model_hash", "tokens")

    def same(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: same(v) for k, v in value.items() if k not in changing}
        return [same(item) for item in value] if isinstance(value, list) else value

    assert same(json.loads(second)) == same(json.loads(text))


def test_openai_messages_come_back(store: SessionStore) -> None:
    text = exported(store, branched(store), ExportFormat.OPENAI)
    messages = json.loads(text)
    assert [m["role"] for m in messages] == [
        *("system", "user", "assistant", "user", "assistant", "tool", "assistant")
    ]
    assert messages[1]["content"].startswith("a.py:\n````python\n```\n````\n\nHello")
    assert messages[4]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert messages[5]["tool_call_id"] == "c1"
    again = taken_in(store, read_session(text.encode(), "x.json"))
    assert exported(store, again, ExportFormat.OPENAI) == text
    assert again.title.startswith("a.py")


def test_markdown_has_the_branch_that_goes_on(store: SessionStore) -> None:
    text = exported(store, branched(store), ExportFormat.MARKDOWN)
    assert text.startswith("# A <b>title</b>\n")
    assert "another" in text
    assert "one way" not in text
    assert "> A\n> thought" in text
    assert "no longer in the context" in text
    assert "stopped by the user" in text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def _is_harmless(text: str) -> bool:
    tags = _Tags()
    tags.feed(text)
    for tag, attributes in tags.seen:
        if tag in ("script", "img", "iframe", "object", "embed", "form", "base", "svg"):
            return False
        for name, value in attributes.items():
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                return False
            if name == "src" or (name == "href" and tag == "link"):
                return False
    return True


def test_a_page_is_whole_and_nothing_in_it_runs(store: SessionStore) -> None:
    text = exported(store, branched(store), ExportFormat.HTML)
    assert "<title>A &lt;b&gt;title&lt;/b&gt;</title>" in text
    assert "&lt;script&gt;" in text
    assert "<table>" in text
    assert _is_harmless(text)
    assert "default-src 'none'" in text


@settings(max_examples=30)
@given(
    st.text(max_size=80)
    | st.sampled_from(
        [
            "[x](javascript:alert(1))",
            "![x](http://example.org/x.png)",
            "<img src=x onerror=alert(1)>",
            "```html\n<script>\n```",
            "[a](<javascript:alert(1)>)",
            "</article></body><script>",
            "<javascript:alert(1)>",
            '`<svg onload="x">`',
        ]
    )
)
def test_no_message_can_do_harm_in_a_page(text: str) -> None:
    from localq.sessions.page import _markdown

    assert _is_harmless(_markdown(text))


def own(**changes: object) -> dict[str, object]:
    message = {"role": "user", "content": "x", "parent": None}
    return {"format": FORMAT, "messages": [message], **changes}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (3, "neither a session nor a list"),
        ({}, "neither a session nor a list"),
        ([], "no message in it"),
        ([3], "message 0 is no object"),
        ([{"role": "king", "content": "x"}], "the role 'king'"),
        ([{"role": ["user"], "content": "x"}], "the role"),
        ([{"role": "user", "content": 3}], "message 0 is more than text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "more than text"),
        ([{"role": "assistant", "content": None, "tool_calls": [3]}], "a tool call that is none"),
        (own(format="localq session 2"), "is a 'localq session 2'"),
        (own(messages=[]), "no message in it"),
        (own(messages=[{"role": "user", "content": "x", "parent": 0}]), "no message before it"),
        (own(messages=[{"role": "user", "content": "x", "left_out": -1}]), "no message before it"),
        (own(messages=[{"role": "user", "content": 1}]), "no role, or no text"),
        (own(preset={"on_full": "explode"}), "no way to go on"),
        ([{"role": "user", "content": "x"}] * 100_001, "are too many"),
    ],
)
def test_files_that_are_no_sessions(document: object, problem: str) -> None:
    with pytest.raises(BadFileError, match=problem) as caught:
        read_session(json.dumps(document).encode(), "x.json")
    assert "x.json" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xfe", "not valid UTF-8"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"[" + b"9" * 5000 + b"]", "not JSON that can be read"),
    ],
)
def test_files_that_are_no_json(data: bytes, problem: str) -> None:
    with pytest.raises(BadFileError, match=problem):
        read_session(data, "x.json")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "messages", "format", "parent", "tool_calls", "function"]
            ),
            inner | st.sampled_from(["user", "assistant", FORMAT]),
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30)
@given(_json)
def test_whatever_is_in_a_file_it_is_a_session_or_one_clear_line(document: object) -> None:
    try:
        found = read_session(json.dumps(document).encode(), "x.json")
    except BadFileError:
        return
    for place, (parent, new) in enumerate(found.messages):
        assert parent is None or 0 <= parent < place
        new.content.encode()


def test_halves_of_characters_and_huge_numbers(store: SessionStore) -> None:
    message = {
        "role": "assistant",
        "content": "a\ud800",
        "prompt_tokens": 1 << 70,
        "generate_seconds": float("inf"),
        "state": "growing",
    }
    found = read_session(json.dumps(own(messages=[message], title="\ud800")).encode(), "x")
    session = taken_in(store, found)
    (kept,) = store.messages(session.id)
    assert kept.content == "a\N{REPLACEMENT CHARACTER}"
    assert kept.prompt_tokens is None
    assert kept.state is MessageState.INTERRUPTED
