"""What a user may write to name a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.errors import UsageError
from localq.hub import ModelSpec, parse_spec
from localq.hub.spec import is_repo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ModelSpec("org/name")),
        (" org/name\n", ModelSpec("org/name")),
        ("org/name@v1.0", ModelSpec("org/name", "v1.0")),
        ("org/name@refs/pr/3", ModelSpec("org/name", "refs/pr/3")),
        ("org/name:q4_k_m", ModelSpec("org/name", None, "Q4_K_M")),
        ("org/name@main:UD-Q4_K_XL", ModelSpec("org/name", "main", "UD-Q4_K_XL")),
        ("org/name:sub/x-Q4_0.gguf", ModelSpec("org/name", file="sub/x-Q4_0.gguf")),
        ("org/name@v1:a b+c.GGUF", ModelSpec("org/name", "v1", file="a b+c.GGUF")),
        ("https://huggingface.co/org/name/", ModelSpec("org/name")),
        ("https://huggingface.co/org/name/tree/v1", ModelSpec("org/name", "v1")),
        (
            "https://huggingface.co/org/name/blob/main/a%20b/x.gguf?download=true",
            ModelSpec("org/name", "main", file="a b/x.gguf"),
        ),
        (
            "hf.co/org/name/resolve/refs%2Fpr%2F1/x.gguf",
            ModelSpec("org/name", "refs/pr/1", file="x.gguf"),
        ),
        ("hf.co/org/name:Q8_0", ModelSpec("org/name", None, "Q8_0")),
        ("01-ai/Yi-1.5-6B_Chat", ModelSpec("01-ai/Yi-1.5-6B_Chat")),
    ],
)
def test_reads_what_users_write(text: str, expected: ModelSpec) -> None:
    assert parse_spec(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "/name",
        "org/",
        "a/b/c",
        "../name",
        "org/..",
        "org/.name",
        "org/na--me",
        "org/name.git",
        "org/na me",
        "org\\name",
        "C:/name",
        "org/name@",
        "org/name@../x",
        "org/name@a/.b",
        "org/name@a//b",
        "org/name@-x",
        "org/name:",
        "org/name:q4/0",
        "org/name:q4:q5",
        "org/name:../x.gguf",
        "org/name:/x.gguf",
        "org/name:a//x.gguf",
        "org/name:a\\x.gguf",
        "org/name:C:x.gguf",
        "org/name:x\x1b[2J.gguf",
        "https://huggingface.co/org/name/blob/main/config.json",
        "org/na\x1bme",
        "org/name@a\nb",
        "org/" + "n" * 100,
        "org/name@" + "r" * 300,
        "o" * 10_000,
    ],
)
def test_refuses_the_rest_in_one_line_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(st.text(max_size=120) | st.from_regex(r"[\w./@:\\-]{0,80}", fullmatch=True))
def test_whatever_is_written_ends_in_a_safe_name_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UsageError:
        return
    assert is_repo(spec.repo)
    assert ".." not in f"{spec.repo}{spec.revision}"
    assert spec.name.isprintable()
    assert parse_spec(spec.name).repo == spec.repo
