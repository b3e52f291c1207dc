"""Chat formats by name or file, for a model whose own template is missing or broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.chat_format.message import ChatMessage
from localq.chat_format.named_templates import NAMED_TEMPLATES, read_template
from localq.chat_format.template import ChatTemplate
from localq.errors import BadFileError, UsageError

CHAT = (
    ChatMessage("system", "Be kind."),
    ChatMessage("user", "Hello"),
    ChatMessage("assistant", "Hi"),
    ChatMessage("user", "Bye"),
)


def render(name: str) -> str:
    return ChatTemplate(read_template(name), "<s>", "</s>").render(CHAT)


@pytest.mark.parametrize("name", NAMED_TEMPLATES)
def test_every_message_is_in_every_format_once(name: str) -> None:
    text = render(name)
    assert [text.count(m.content) for m in CHAT] == [1, 1, 1, 1]
    assert [text.find(m.content) for m in CHAT] == sorted(text.find(m.content) for m in CHAT)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "llama2",
            "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello [/INST] Hi </s><s>[INST] Bye [/INST]",
        ),
        (
            "ChatML",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
            "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (
            "gemma",
            "<s><start_of_turn>user\nBe kind.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi"
            "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
    ],
)
def test_formats(name: str, expected: str) -> None:
    assert render(name) == expected


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_bytes(b"{% for m in messages %}{{ m.content }}\r\n{% endfor %}")
    assert render(str(path)) == "Be kind.\nHello\nHi\nBye\n"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadFileError, match="not valid UTF-8"):
        read_template(str(path))


def test_none_and_nonsense() -> None:
    assert read_template("none") == ""
    with pytest.raises(UsageError, match="'chatmll' is neither") as caught:
        read_template("chatmll")
    assert "chatml" in str(caught.value.hint)
