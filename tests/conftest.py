"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from localq.engine.canary.verdict import engine_verdict
from localq.engine.mode import MODE_VARIABLE, chosen_mode
from localq.library import Library
from localq.paths import Paths
from tests.hub_server import HubServer, only_this_hub

os.environ["LOCALQ_LANG"] = "en"  # whatever the language of whoever runs the tests
# Hundreds of child processes would each compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# How long an example takes says nothing of localq on a machine that does other things too.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def tried_engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The engine is tried once, not in every test's new home; with patience, for tests of all
    kinds run beside each other. The library of whoever runs the tests is none of their business."""
    os.environ["LOCALQ_HOME"] = str(tmp_path_factory.getbasetemp() / "nobodys-home")
    if chosen_mode() is None:
        cache = tmp_path_factory.getbasetemp().parent / "engine"
        verdict = engine_verdict(cache, try_seconds=120)
        if verdict and verdict.mode:
            os.environ[MODE_VARIABLE] = str(verdict.mode)


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
