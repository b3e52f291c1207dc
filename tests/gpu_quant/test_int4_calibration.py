"""Texts to calibrate with, of every kind and damaged."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from pathlib import Path

import pytest

from localq.errors import BadFileError, HubError, LocalqError, NotFoundError, OfflineError
from localq.events import JobEvent, Note
from localq.gpu_quant.calibration import BUILTIN_TEXT, prepare_calibration
from localq.paths import Paths
from localq.services.int4.calibration import calibration_for


def text_of(given: Path, tmp_path: Path, field: str = "text") -> str:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    found = prepare_calibration("x", given, field, scratch, 1 << 20)
    return found.path.read_text(encoding="utf-8")


def test_the_text_that_comes_along(tmp_path: Path) -> None:
    text = text_of(BUILTIN_TEXT, tmp_path)
    assert len(text) > 250_000
    assert "Call me Ishmael" in text


def test_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    records = [
        {"text": "one"},
        {"messages": [{"role": "user", "content": "two"}, {"role": "x", "content": "three"}]},
    ]
    file.write_text("\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")
    assert text_of(file, tmp_path) == "one\n\ntwo\nthree\n\n"
    file.write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(BadFileError, match="line 2 has no text 'text'") as caught:
        text_of(file, tmp_path)
    assert caught.value.hint == "name the field: --calib-field body"
    file.write_text('{"body": "b"}\n')
    assert text_of(file, tmp_path, "body") == "b\n\n"


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("second")
    (folder / "a.md").write_text("first")
    (folder / "c.bin").write_bytes(b"\0\1")
    assert text_of(folder, tmp_path) == "first\n\nsecond\n\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"\xff\xfe", "not valid UTF-8"),
        ("a.txt", b"a\0b", "is no text"),
        ("a.txt", b"", "holds no text"),
        ("a.jsonl", b"{", "line 1 is no JSON"),
        ("a.jsonl", b"[1]", "line 1 is no JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFileError, match=says):
        text_of(tmp_path / name, tmp_path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        text_of(tmp_path / "none.txt", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match=r"no \*.txt"):
        text_of(tmp_path / "empty", tmp_path)


def from_hub(
    home: Paths, calib: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> tuple[str, list[JobEvent]]:
    def fetch(*_: object, **__: object) -> bytes:
        if isinstance(answer, LocalqError):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    monkeypatch.setattr("localq.hub.dataset_file.fetch_dataset_file", fetch)
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    events: list[JobEvent] = []
    found = calibration_for(home, calib, "text", 1000, scratch, events.append, threading.Event())
    return found.path.read_text(encoding="utf-8"), events


def archive(member: str, text: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr(member, text)
    return made.getvalue()


def test_wikitext_by_name_once(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = archive("wikitext-2-raw/wiki.train.raw", b" = Words = \n")
    text, _ = from_hub(home, "wikitext2", tmp_path, monkeypatch, data)
    assert text == " = Words = \n\n\n"
    again, _ = from_hub(home, "wikitext2", tmp_path, monkeypatch, OfflineError("no network"))
    assert again == text


def test_c4_by_name(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(b'{"text": "one"}\n{"text": "two"}\n')
    text, _ = from_hub(home, "c4", tmp_path, monkeypatch, data)
    assert text == "one\n\ntwo\n\n\n\n"


@pytest.mark.parametrize("data", [b"", b"PK", archive("other", b"x"), gzip.compress(b"{}")])
def test_archives_that_are_something_else(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    for name in ("wikitext2", "c4"):
        with pytest.raises(HubError, match="does not hold the text"):
            from_hub(home, name, tmp_path, monkeypatch, data)


def test_without_a_network(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = OfflineError("no network")
    text, events = from_hub(home, None, tmp_path, monkeypatch, offline)
    assert "Call me Ishmael" in text
    assert any(isinstance(event, Note) and event.warning for event in events)
    with pytest.raises(OfflineError):  # it was asked for by name
        from_hub(home, "wikitext2", tmp_path, monkeypatch, offline)
