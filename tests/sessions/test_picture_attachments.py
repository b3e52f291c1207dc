"""Pictures that are kept with a session."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from localq.errors import BadFileError, LocalqError
from localq.paths import Paths
from localq.sessions import Attachment, NewMessage, Session, SessionStore
from localq.sessions.exports import ExportFormat, export
from localq.sessions.imports import read_session
from localq.sessions.picture_attachments import picture_files, read_picture_attachment
from tests.projectors import png


@pytest.fixture
def picture(tmp_path: Path) -> Attachment:
    path = tmp_path / 'a "b".png'
    path.write_bytes(png())
    return read_picture_attachment(path)


@pytest.fixture
def store(home: Paths) -> SessionStore:
    return SessionStore(home)


def talk(store: SessionStore, picture: Attachment) -> Session:
    session = store.create(title="t", model="m")
    text = Attachment("b.py", "1 + 1")
    said = NewMessage("user", "What is it?", attachments=(picture, text))
    store.say(session.id, None, said, NewMessage("assistant", "Noise."))
    return store.session(session.id)


def test_they_come_back_as_they_were(store: SessionStore, picture: Attachment) -> None:
    session = talk(store, picture)
    _, tree = store.opened(session.id)
    said = next(iter(tree))
    assert [one.media for one in said.attachments] == ["image/png", ""]
    assert picture_files(said.attachments) == [png()]


def test_every_export_has_them(store: SessionStore, picture: Attachment) -> None:
    opened = store.opened(talk(store, picture).id)
    assert f"[picture: {picture.name}]" in export(*opened, ExportFormat.MARKDOWN)
    page = export(*opened, ExportFormat.HTML)
    assert f'<img src="data:image/png;base64,{picture.content}" alt="a &quot;b&quot;.png">' in page
    messages = json.loads(export(*opened, ExportFormat.OPENAI))
    parts = messages[0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert "What is it?" in parts[1]["text"]
    assert picture.content not in parts[1]["text"]
    again = read_session(json.dumps(messages).encode(), "x.json").messages[0][1]
    assert picture_files(again.attachments) == [png()]
    for wrong in ("https://example.org/a.png", "data:image/png;base64,aGVsbG8="):
        messages[0]["content"][0]["image_url"]["url"] = wrong
        with pytest.raises(BadFileError, match="more than text"):
            read_session(json.dumps(messages).encode(), "x.json")


def test_json_brings_them_back_unless_they_are_none(
    store: SessionStore, picture: Attachment
) -> None:
    text = export(*store.opened(talk(store, picture).id), ExportFormat.JSON)
    found = read_session(text.encode(), "x.json")
    assert found.messages[0][1].attachments[0].content == picture.content
    for wrong in ("!!", base64.b64encode(b"<html>").decode()):
        changed = text.replace(picture.content, wrong)
        found = read_session(changed.encode(), "x.json")
        assert [one.name for one in found.messages[0][1].attachments] == ["b.py"]
    changed = text.replace("image/png", "text/html")
    assert len(read_session(changed.encode(), "x.json").messages[0][1].attachments) == 1


def test_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_text("no")
    for wrong in (path, tmp_path / "none.png", tmp_path):
        with pytest.raises(LocalqError):
            read_picture_attachment(wrong)
