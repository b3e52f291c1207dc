"""States on disk: what is kept, what goes, and what is never believed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localq.engine.state_store import StateStore, file_fingerprint

TOKENS = list(range(300))


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path, "model", 1 << 20)


def again(tmp_path: Path, key: str = "model") -> StateStore:
    return StateStore(tmp_path, key, 1 << 20)


def test_a_state_is_there_after_a_restart(store: StateStore, tmp_path: Path) -> None:
    assert store.save(TOKENS, b"state" * 100)
    (path,) = tmp_path.iterdir()
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = again(tmp_path)
    found = later.longer([*TOKENS, 7], 0)
    assert found is not None
    assert found[1] == 300
    assert later.load(found[0]) == b"state" * 100
    assert later.longer([*TOKENS[:200], 9], 0) == (found[0], 200)
    assert later.longer(TOKENS, 280) is None  # not worth the disk
    assert len(again(tmp_path, "another model")) == 0
    assert path.exists()


def test_a_longer_text_takes_the_place_of_its_beginning(store: StateStore, tmp_path: Path) -> None:
    store.save(TOKENS[:200], b"a")
    store.save(TOKENS, b"b")
    store.save([*TOKENS[:200], 5], b"c")
    store.save(TOKENS, b"b")
    assert len(store) == len(list(tmp_path.iterdir())) == 2
    assert not store.save(TOKENS[:100], b"short")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-5] + b"y" + data[-4:],
        lambda data: data.replace(b"localq state 1", b"localq state 2"),
        lambda data: data.replace(b'"tokens": 300', b'"tokens": -30'),
        lambda data: data.replace(b'"bytes": 500', b'"bytes": 1e9'),
        lambda data: b"",
        lambda data: b"[]\n" + data,
        lambda data: b"{" * 5000,
        lambda data: b"[" * 4000,
        lambda data: b"\xff" * 600,
    ],
)
def test_a_file_that_does_not_fit_is_ignored(spoil: Any, store: StateStore, tmp_path: Path) -> None:
    store.save(TOKENS, b"state" * 100)
    (path,) = tmp_path.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    (number, _) = store.longer(TOKENS, 0) or (0, 0)
    assert store.load(number) is None
    assert not path.exists()
    assert len(store) == len(again(tmp_path)) == 0


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    store = StateStore(tmp_path, "model", 8000)
    for first in range(3):
        store.save([first, *TOKENS], bytes(1000))
        for path in tmp_path.iterdir():
            os.utime(path, (path.stat().st_atime - 10, path.stat().st_mtime - 10))
    (oldest, _) = store.longer([0, *TOKENS], 0) or (0, 0)
    assert store.load(oldest)  # used again
    store.save([7, *TOKENS], bytes(1000))
    assert len(store) == 3
    assert store.longer([1, *TOKENS], 0) is None
    assert store.longer([0, *TOKENS], 0)
    assert not store.save([8, *TOKENS], bytes(9000))


def test_a_full_disk_leaves_nothing_half_made(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert not store.save(TOKENS, b"state")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert not StateStore(tmp_path / "file" / "folder", "model", 1 << 20).save(TOKENS, b"x")
    assert not StateStore(tmp_path / "file" / "folder", "model").save(TOKENS, b"x")


def test_the_limit_without_one_is_of_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 20_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    store = StateStore(tmp_path / "states", "model")
    assert not store.save(TOKENS, bytes(1000))
    free = 40_000
    assert store.save(TOKENS, bytes(1000))


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"a" * 100)
    first = file_fingerprint(path)
    assert file_fingerprint(path) == first
    path.write_bytes(b"a" * 99 + b"b")
    assert file_fingerprint(path) != first
