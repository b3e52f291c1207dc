"""What a search finds, in Chinese and otherwise."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.database.migrations.m6_sessions import STATEMENTS
from localq.sessions.session import title_of
from localq.sessions.words import indexed, query, snippet, well_formed


@pytest.fixture(scope="module")
def index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(STATEMENTS[-1])
    return connection


def finds(index: sqlite3.Connection, text: str, sought: str) -> bool:
    index.execute("INSERT INTO words (words) VALUES ('delete-all')")
    index.execute("INSERT INTO words (rowid, text) VALUES (1, ?)", (indexed(text),))
    asked = query(sought)
    rows = index.execute("SELECT rowid FROM words WHERE words MATCH ?", (asked,)).fetchall()
    return bool(rows)


@pytest.mark.parametrize(
    ("text", "sought", "found"),
    [
        ("今天天气很好，我们去公园散步。", "天气", True),
        ("今天天气很好，我们去公园散步。", "公园 散步", True),
        ("今天天气很好，我们去公园散步。", "气天", False),
        ("今天天气很好", "好", True),
        ("用 Python 写一个爬虫", "python 爬虫", True),
        ("用Python写", "python写", True),
        ("東京へ行きます", "行き", True),
        ("สวัสดีครับ", "ดีค", True),
        ("한국어를 배워요", "한국어", True),
        ("Café au lait", "cafe", True),
        ("ＡＢＣ fullwidth", "abc", True),
        ("the quantization of models", "quant", True),
        ("the quantization of models", "models quantization", True),
        ("the quantization of models", "ization", False),
        ("he is", "h", False),
        ("read_gguf(path)", "read_gguf", True),
        ('say "hi" AND go', 'and "hi"', True),
    ],
)
def test_words(index: sqlite3.Connection, text: str, sought: str, found: bool) -> None:
    assert finds(index, text, sought) is found


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_a_search_is_never_a_syntax_error(index: sqlite3.Connection, sought: str) -> None:
    if asked := query(well_formed(sought)):
        index.execute("SELECT rowid FROM words WHERE words MATCH ?", (asked,)).fetchall()


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=60))
def test_what_was_said_is_found_by_its_own_words(index: sqlite3.Connection, text: str) -> None:
    text = well_formed(text)
    if query(text) and indexed(text).isascii():
        assert finds(index, text, text)


def test_snippets() -> None:
    text = "word " * 50 + "needle " + "word " * 50
    line = snippet(text, "Needle")
    assert "needle" in line
    assert line.startswith("…")
    assert line.endswith("…")
    assert len(line) < 130
    assert snippet("short\n text", "none") == "short text"
    assert snippet("İİİ and straße", "straße") == "İİİ and straße"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is a GGUF file? I read of it.", "What is a GGUF file?"),
        ("今天天气怎么样？我想出去。", "今天天气怎么样？"),
        ("# A heading\n\ntext", "A heading"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("\n\n  ", ""),
        ("a\x1b[31m b", "a [31m b"),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert title_of(text) == title


@settings(max_examples=30)
@given(st.text(max_size=300))
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_of(text)
    assert len(title) <= 60
    assert title.isprintable()
