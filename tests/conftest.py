"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.library import Library
from localq.paths import Paths
from tests.hub_server import HubServer, only_this_hub

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A localq home of the test's own, with nothing in it."""
    monkeypatch.setenv("LOCALQ_HOME", str(tmp_path / "home"))
    for variable in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    return Paths.from_environment()


@pytest.fixture
def library(home: Paths) -> Library:
    return Library(home)


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub of the test's own, the only one there is; the current folder is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        yield server


@pytest.fixture(scope="session")
def material() -> Path:
    """Real tokenizers, small trained models and corpora; see its README."""
    folder = Path(os.environ.get("LOCALQ_MATERIAL", _ROOT.parent / "shared" / "material"))
    if not folder.is_dir():
        pytest.skip(f"no test material at {folder} (set LOCALQ_MATERIAL)")
    return folder
