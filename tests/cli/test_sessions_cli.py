"""`localq sessions` and `localq presets`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.paths import Paths
from localq.sessions import NewMessage, SessionStore

Capture = pytest.CaptureFixture[str]

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How do I bake a cake?"},
    {"role": "assistant", "content": "Take **flour**\x1b[31m and eggs."},
]


@pytest.fixture
def cake(home: Paths, tmp_path: Path, capsys: Capture) -> Path:
    """A home with one session, and the file that it came from."""
    path = tmp_path / "cake.json"
    path.write_text(json.dumps(MESSAGES))
    assert main(["sessions", "import", str(path)]) == 0
    capsys.readouterr()
    return path


def document(capsys: Capture, *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_no_sessions_yet(home: Paths, capsys: Capture) -> None:
    assert main(["sessions"]) == 0
    assert "localq chat" in capsys.readouterr().err
    assert document(capsys, "sessions", "list") == []
    assert not home.data.exists()


def test_list_show_and_search(cake: Path, capsys: Capture) -> None:
    assert main(["sessions"]) == 0
    assert "How do I bake a cake?" in capsys.readouterr().out
    (listed,) = document(capsys, "sessions", "list")
    assert (listed["id"], listed["message_count"]) == (1, 2)
    assert main(["sessions", "show", "bake"]) == 0
    shown = capsys.readouterr().out
    assert "Be brief." in shown
    assert "\x1b" not in shown
    (found,) = document(capsys, "sessions", "search", "flour")
    assert found["session"]["id"] == 1
    assert main(["sessions", "list", "--page", "2"]) == 0
    assert "there is no page 2" in capsys.readouterr().err
    assert document(capsys, "sessions", "list", "--page", "2") == []
    assert main(["sessions", "list", "--page", "2", "--all"]) == 2
    assert document(capsys, "sessions", "search", "flour", "--page", "2") == []
    assert main(["sessions", "search", "nowhere"]) == 0
    assert "no session has: nowhere" in capsys.readouterr().err
    for nothing in ("", "  ", "?!"):
        assert main(["sessions", "search", nothing]) == 2
        assert "no word to look for" in capsys.readouterr().err


def test_a_long_list_comes_in_pages(home: Paths, capsys: Capture) -> None:
    store = SessionStore(home)
    for number in range(31):
        said = NewMessage("user", f"number {number}")
        store.create(messages=[(None, said)])
    assert main(["sessions"]) == 0
    said_of = capsys.readouterr()
    assert "number 30" in said_of.out
    assert "number 0\n" not in said_of.out
    assert "there are more: --page 2" in said_of.err
    assert main(["sessions", "list", "--page", "2"]) == 0
    said_of = capsys.readouterr()
    assert "number 0" in said_of.out
    assert said_of.err == ""
    assert len(document(capsys, "sessions", "list")) == 31


def test_what_is_changed(cake: Path, capsys: Capture) -> None:
    assert main(["sessions", "rename", "1", "A", "cake"]) == 0
    assert document(capsys, "sessions", "tag", "1", "+food", "plain")["tags"] == ["food", "plain"]
    assert document(capsys, "sessions", "tag", "1", "-plain")["tags"] == ["food"]
    fork = document(capsys, "sessions", "fork", "1")
    assert fork["title"] == "A cake (2)"
    assert main(["sessions", "pin", "2"]) == 0
    assert main(["sessions", "archive", "1"]) == 0
    capsys.readouterr()
    assert main(["sessions", "list"]) == 0
    assert "* A cake (2)" in capsys.readouterr().out
    assert main(["sessions", "rm", "2", "-y"]) == 0
    assert main(["sessions", "rm", "2", "-y"]) == 1
    assert "there is no session '2'" in capsys.readouterr().err


def test_export_and_import(cake: Path, tmp_path: Path, capsys: Capture) -> None:
    page = tmp_path / "cake.html"
    assert main(["sessions", "export", "1", "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "<strong>flour</strong>" in page.read_text()
    assert main(["sessions", "export", "1", "-o", str(page)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["sessions", "export", "1", "-o", str(tmp_path / "cake.txt")]) == 2
    assert "in which format" in capsys.readouterr().err
    assert main(["sessions", "export", "1", "--format", "openai"]) == 0
    assert json.loads(capsys.readouterr().out) == MESSAGES
    exported = document(capsys, "sessions", "export", "1")
    cake.write_text(json.dumps(exported))
    assert main(["sessions", "import", str(cake)]) == 0
    cake.write_text("{")
    assert main(["sessions", "import", str(cake)]) == 1
    assert f"{cake} (byte 1): not valid JSON" in capsys.readouterr().err
    assert len(document(capsys, "sessions", "list")) == 2


def test_presets(home: Paths, capsys: Capture) -> None:
    assert main(["presets"]) == 0
    assert "translate" in capsys.readouterr().out
    made = [
        "presets",
        "set",
        "mine",
        "--from",
        "code",
        "--set",
        "temperature=0.9",
        "--set",
        "top_p=",
    ]
    assert main(made) == 0
    path = Path(capsys.readouterr().out.rstrip("\n"))
    assert path.is_file()
    shown = document(capsys, "presets", "show", "mine")
    assert shown["sampling"] == {"temperature": 0.9}
    path.write_text("[sampling]\ntemperature = 'hot'\n")
    assert main(["presets", "show", "mine"]) == 2
    assert "preset mine: temperature" in capsys.readouterr().err
    assert main(["presets"]) == 0
    assert "preset mine: temperature is 'hot'" in capsys.readouterr().err
    path.write_text("on_full = 'explode'\n")
    assert main(["presets"]) == 0
    said = capsys.readouterr()
    assert "precise" in said.out
    assert "explode" in said.err
    assert main(["presets", "set", "x", "--set", "warmth=1"]) == 2
    assert main(["presets", "set", "x", "--set", "warmth"]) == 2
    assert main(["presets", "rm", "mine"]) == 0
    assert main(["presets", "rm", "code"]) == 1
    assert "comes with localq" in capsys.readouterr().err
