"""The machine and the settings screens."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from localq.events import ignore
from localq.formats.types import QuantType
from localq.hardware.detect import detect
from localq.hardware.machine import LocalMachine
from localq.library import Library
from localq.paths import Paths
from localq.planning.measurements import Tuning, TuningPoint
from localq.services.make.quantize import QuantizeRequest
from localq.services.make.quantize import quantize as quantize_model
from localq.services.pull.pull import PullRequest, pull
from localq.settings import read_settings
from localq.tui import plan_text
from localq.tui.app import LocalqApp
from localq.tui.services import services_of
from tests.tui_support import Fakes, asynchronous, gguf, screen_text, until


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A home with the demo, quantized."""
    paths = Paths.from_environment({"LOCALQ_HOME": str(tmp_path_factory.mktemp("demo"))})
    library, cancel = Library(paths), threading.Event()
    pull(library, PullRequest("demo"), ignore, cancel)
    quantize_model(library, QuantizeRequest(QuantType.Q8_0, "demo/stories260K"), ignore, cancel)
    return paths


@asynchronous
async def test_what_the_machine_has_and_how_a_model_would_be_loaded(demo: Paths) -> None:
    app = LocalqApp(services_of(Library(demo)))
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "stories260K" in screen_text(app))
            await pilot.press("down", "f")
            await until(pilot, lambda: "processor" in screen_text(app))
            await until(pilot, lambda: "512 tokens of context" in screen_text(app))
            text = screen_text(app)
            assert "█ weights" in text
            assert "██████  6" in text  # layers, the output one of them
            assert "Not yet: t measures" in text
            await pilot.press("minus")
            await until(pilot, lambda: "256 tokens of context" in screen_text(app))
            await pilot.press("plus", "plus")  # no longer than it was trained for
            await until(pilot, lambda: "512 tokens of context" in screen_text(app))
            await pilot.press("1", "right")
            await until(pilot, lambda: "█ weights" in screen_text(app))
            await pilot.press("e")
            await until(pilot, lambda: "localq.model_path" in screen_text(app))
            await pilot.press("down", "down")
            assert "llama-server -m" in screen_text(app)
            await pilot.press("enter")
            assert "Copied: llama.cpp" in screen_text(app)
            assert "llama-server -m" in app.clipboard
            await pilot.press("a", *"tale", "enter")
            await until(pilot, lambda: "tale" in str(Library(demo).models()))
            await pilot.press("l", *"old small", "enter")
            await until(pilot, lambda: "small" in str(Library(demo).models()))
            await pilot.press("n", *"writes tales", "enter")
            await until(pilot, lambda: "writes tales" in str(Library(demo).models()))
            await pilot.press("a", *"no/name", "enter")
            await until(pilot, lambda: "cannot name a model" in screen_text(app))
    finally:
        app.end(20)


def test_tuning_is_drawn() -> None:
    points = (
        TuningPoint("n_threads", 1, 10.0),
        TuningPoint("n_threads", 2, 20.0),
    )
    text = str(plan_text.tuning(Tuning(0.0, 2, 2, None, 0, points)))
    assert "     1 ━━━━━━━━━━ 10.0 tok/s\n" in text
    assert "20.0 tok/s ★" in text


def test_what_a_machine_does_not_say_is_unknown() -> None:
    text = str(plan_text.machine(detect(LocalMachine())))
    assert "not there" in text  # the engine was not asked


@asynchronous
async def test_language_and_theme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", "en")
    fakes = Fakes(tmp_path, [gguf()])
    async with fakes.running() as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "Token for the Hub" in screen_text(pilot.app))
        await pilot.press("home", "enter")
        await until(pilot, lambda: "退出" in screen_text(pilot.app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: pilot.app.theme == "localq-light")
        await pilot.press("1")
        await until(pilot, lambda: "SmolLM2" in screen_text(pilot.app))
        assert "量化" in screen_text(pilot.app)
    settings = read_settings(fakes.paths)
    assert (settings.language, settings.theme) == ("zh_CN", "localq-light")


@asynchronous
async def test_the_token_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    async with Fakes(tmp_path, [gguf()]).running() as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "one is set" in screen_text(pilot.app))
        assert "secret" not in screen_text(pilot.app)
