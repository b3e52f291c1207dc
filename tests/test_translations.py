"""Texts for people: English but where a person reads them, and none without a translation."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import localq
from localq.errors import LocalqError
from localq.messages import LOCALES, Message, language, msg, translate

_ROOT = Path(localq.__file__).parent
_FIELD = re.compile(r"(?<!\{)\{(\w*)[^{}]*\}")


@pytest.fixture(scope="module")
def translations() -> ModuleType:
    """The script that finds the texts, `packaging/translations.py`."""
    path = _ROOT.parent / "packaging" / "translations.py"
    spec = importlib.util.spec_from_file_location("translations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", "zh_CN")


def test_every_text_has_its_translation(translations: ModuleType) -> None:
    """`python packaging/translations.py --update` adds what is new to the catalogue."""
    for path in translations.files():
        assert translations.missing(path) == [], path


def test_the_compiled_catalogue_is_of_the_source(translations: ModuleType, tmp_path: Path) -> None:
    from babel.messages.mofile import read_mo

    for path in translations.files():
        with path.with_suffix(".mo").open("rb") as file:
            compiled = {m.id: m.string for m in read_mo(file) if m.id}
        source = {m.id: m.string for m in translations.catalogue(path) if m.id and m.string}
        assert compiled == source


def test_translations_name_no_value_that_is_not_there(translations: ModuleType) -> None:
    for path in translations.files():
        for message in translations.catalogue(path):
            if message.id and "%(" not in message.id:
                extra = set(_FIELD.findall(message.string)) - set(_FIELD.findall(message.id))
                assert not extra, (message.id, message.string)
                if "{}" in message.id:  # taken in order: none may be left out
                    assert message.string.count("{") == message.id.count("{"), message.id


def _errors() -> set[str]:
    found, left = set(), [LocalqError]
    while left:
        kind = left.pop()
        found.add(kind.__name__)
        left += kind.__subclasses__()
    return found


def _words(text: ast.expr) -> str:
    """What a literal says by itself; nothing where it is only a command to type."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    texts = [part.value for part in parts if isinstance(part, ast.Constant)]
    words = " ".join(part for part in texts if isinstance(part, str))
    return "" if words.startswith(("localq ", "CMAKE_ARGS=")) else words


def test_errors_and_notes_are_made_of_messages() -> None:
    """A plain text or f-string given to an error or a note could never be translated."""
    takes_texts = {*_errors(), "Note", "Started", "Problem", "Skipped"}
    bare = []
    for path in sorted(_ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in takes_texts:
                continue
            given = [*node.args, *(k.value for k in node.keywords if k.arg == "hint")]
            bare += [
                f"{path.relative_to(_ROOT)}:{node.lineno}"
                for text in given
                if re.search(r"[a-z]{2,} [a-z]", _words(text))
            ]
    assert bare == []


def test_a_message_is_its_english_text() -> None:
    message = msg("{path}: no such file", path="/x/{y}")
    assert message == "/x/{y}: no such file"
    assert json.dumps([message]) == '["/x/{y}: no such file"]'
    assert msg("no {braces} without values") == "no {braces} without values"


@pytest.mark.usefixtures("chinese")
def test_messages_inside_messages_are_translated_too() -> None:
    inner = msg("the disk is full")  # not in the catalogue: stays
    assert translate(msg("{path}: no such file", path="/x")) == "/x：没有这个文件"
    nested = msg("{path}: {problem}", path="/x", problem=msg("not a GGUF file"))
    assert translate(nested) == "/x: 不是 GGUF 文件"
    assert (
        translate(msg("not a GGUF file") + " (" + inner + ")")
        == "不是 GGUF 文件 (the disk is full)"
    )
    assert translate("not a GGUF file") == "not a GGUF file"  # a name, say, and no message


@given(st.text(), st.text())
def test_values_are_never_read_as_templates(value: str, more: str) -> None:
    message = msg("{path}: {problem}", path=value, problem=more)
    assert message == f"{value}: {more}"
    assert translate(message + value) == f"{value}: {more}{value}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_SG.utf8@x"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "en"),  # traditional characters: not translated yet
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh_CN"),
        ({"LC_ALL": "C", "LANGUAGE": "zh_CN"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LOCALQ_LANG": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "LOCALQ_LANG": "zh-Hans-CN"}, "zh_CN"),
        ({"LOCALQ_LANG": "../../etc"}, "en"),
    ],
)
def test_which_language(
    environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCALQ_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert language() == expected


def test_errors_help_and_json(home: object) -> None:
    """In processes of their own: commands, and click's words, are translated once and for all."""

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "localq", *arguments],
            env={**os.environ, "LOCALQ_LANG": "zh_CN"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    assert "用法" in run("--help")[0]
    assert "移入回收站" in run("rm", "--help")[0]
    assert json.loads(run("list", "--json")[0]) == []
    out, err = run("show", "nothing", code=1)
    assert out == ""
    assert "没有名为 'nothing' 的模型" in err
    assert "localq pull" in err
    assert "未知的量化类型 'q9'" in run("quantize", "q9", "nothing", code=2)[1]
    assert "没有选项 '--frob'" in run("list", "--frob", code=2)[1]


def test_catalogues_are_in_the_package() -> None:
    assert (Path(LOCALES) / "zh_CN" / "LC_MESSAGES" / "localq.mo").is_file()
    assert isinstance(msg("x"), Message)
