"""The quantize dialog, and what all dialogs with a job do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import ProgressBar

from localq.errors import StorageError
from localq.events import Note, Progress, Started
from localq.formats.types import QuantType
from localq.services.make.quantize import QuantizeResult
from localq.tui.quant_choices import CHOICES
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.screens.help import HelpDialog
from localq.tui.screens.job_dialog import DialogState
from localq.tui.screens.quantize import QuantizeDialog
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.model_table import ModelTable
from tests.tui_support import (
    Fakes,
    StoppedClock,
    asynchronous,
    checkpoint,
    gguf,
    library,
    notice_text,
    screen_text,
    until,
)

MADE = gguf(quant=QuantType.Q4_K_M, size=105_000_000, used=0.0)
RESULT = QuantizeResult(MADE.name, MADE.path, "Q4_K_M", MADE.size_bytes, MADE.parameters, 3.0)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path / "log" / "tui.log", [checkpoint(), gguf(used=1e6)])


def on_top(app: App[Any], kind: type[Screen[Any]]) -> bool:
    return isinstance(app.screen, kind)


def is_in(screen: QuantizeDialog, state: DialogState) -> bool:
    return screen.state is state


async def opened(pilot: Pilot[None]) -> QuantizeDialog:
    await pilot.press("q")
    return dialog(pilot.app)


def dialog(app: App[Any]) -> QuantizeDialog:
    screen = app.screen_stack[1]
    assert isinstance(screen, QuantizeDialog)
    return screen


class TestChoice:
    @asynchronous
    async def test_explains_the_types_and_their_sizes(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            shown = await opened(pilot)
            text = screen_text(pilot.app)
            assert shown.query_one(ChoiceList).highlighted == 1
        assert "HuggingFaceTB/SmolLM2-135M-Instruct  BF16 · 272 MB" in text
        for choice in CHOICES:
            assert choice.type.name in text
        assert "Q4_K_M    4.9  ~82.4 MB   recommended" in text
        assert "✓ Q4_0" in text
        assert "✓ in the library" in text

    @asynchronous
    async def test_sizes_are_exact_where_they_are_known(self, fakes: Fakes) -> None:
        fakes.sizes = {QuantType.Q4_K_M: 105_454_432, QuantType.F16: 270_888_000}
        async with fakes.running() as pilot:
            shown = await opened(pilot)
            await until(pilot, lambda: "105 MB   recommended" in screen_text(pilot.app))
            text = screen_text(pilot.app)
            assert shown.query_one(ChoiceList).highlighted == 1
        assert "~105 MB" not in text
        assert "~75.7 MB" in text

    @asynchronous
    async def test_escape_makes_nothing(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await opened(pilot)
            await pilot.press("escape")
            assert pilot.app.screen is library(pilot.app)
        assert fakes.quantizations.calls == []

    @asynchronous
    async def test_from_a_gguf_it_names_the_checkpoint(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("down")
            await opened(pilot)
            assert "SmolLM2-135M-Instruct  BF16 · 272 MB" in screen_text(pilot.app)

    @pytest.mark.parametrize(("keys", "calls"), [(["y"], 1), (["n"], 0)])
    @asynchronous
    async def test_asks_before_it_replaces(self, fakes: Fakes, keys: list[str], calls: int) -> None:
        async with fakes.running() as pilot:
            await opened(pilot)
            await pilot.press("up", "enter")
            assert on_top(pilot.app, ConfirmDialog)
            await pilot.press(*keys)
            assert pilot.app.screen is dialog(pilot.app)
            await until(pilot, lambda: len(fakes.quantizations.calls) == calls)
        expected = [(checkpoint().name, QuantType.Q4_0, True)]
        assert fakes.quantizations.calls == expected[:calls]


class TestWork:
    @asynchronous
    async def test_progress_then_the_new_model_is_highlighted(self, fakes: Fakes) -> None:
        clock = StoppedClock()
        async with fakes.running(clock=clock) as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            fakes.quantizations.emit(
                Started("smol -> Q4_K_M"), Progress("quantizing", 0, 100_000_000)
            )
            bar = shown.query_one(ProgressBar)
            await until(pilot, lambda: bar.total == 100_000_000)
            clock.seconds = 2.0
            fakes.quantizations.emit(
                Progress("quantizing", 20_000_000, 100_000_000),
                Note("token_embd stays Q6_K", warning=True),
            )
            await until(pilot, lambda: bar.progress == 20_000_000)
            text = screen_text(pilot.app)
            assert "quantizing" in text
            assert "20.0 MB of 100 MB · 10.0 MB/s · 0:08 left" in text
            assert "token_embd stays Q6_K" in text
            fakes.listed.append(MADE)
            fakes.quantizations.finish(RESULT)
            table = library(pilot.app).query_one(ModelTable)
            await until(pilot, lambda: table.current == MADE)
            assert pilot.app.screen is library(pilot.app)
            assert "Q4_K_M is ready." in screen_text(pilot.app)
        assert fakes.quantizations.calls == [(checkpoint().name, QuantType.Q4_K_M, False)]

    @asynchronous
    async def test_failure_is_shown_and_can_be_tried_again(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            fakes.quantizations.fail(StorageError("/models: the disk is full", hint="make room"))
            await until(pilot, lambda: notice_text(shown) is not None)
            assert notice_text(shown) == "/models: the disk is full\n→ make room"
            assert isinstance(pilot.app.focused, ChoiceList)
            await pilot.press("enter")
            assert notice_text(shown) is None
            await until(pilot, lambda: len(fakes.quantizations.calls) == 2)

    @asynchronous
    async def test_app_outlives_a_service_that_breaks(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            fakes.quantizations.fail(RuntimeError("segfault averted"))
            await until(pilot, lambda: notice_text(shown) is not None)
            told = notice_text(shown) or ""
            assert "RuntimeError: segfault averted" in told
            assert str(fakes.log) in told
        assert "segfault averted" in fakes.log.read_text(encoding="utf-8")


class TestStopping:
    @asynchronous
    async def test_a_young_job_is_stopped_at_once(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            await pilot.press("escape")
            assert is_in(shown, DialogState.STOPPING)
            fakes.quantizations.wait_for_cancel()
            await until(pilot, lambda: notice_text(shown) == "Stopped.")
            assert is_in(shown, DialogState.CHOOSING)
            assert pilot.app.screen is shown

    @asynchronous
    async def test_an_older_job_is_stopped_after_a_question(self, fakes: Fakes) -> None:
        clock = StoppedClock()
        async with fakes.running(clock=clock) as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            clock.seconds = 6.0
            await pilot.press("escape")
            assert on_top(pilot.app, ConfirmDialog)
            await pilot.press("n")
            assert is_in(shown, DialogState.WORKING)
            await pilot.press("escape", "y")
            assert is_in(shown, DialogState.STOPPING)
            fakes.quantizations.wait_for_cancel()
            await until(pilot, lambda: notice_text(shown) == "Stopped.")

    @asynchronous
    async def test_a_job_that_does_not_stop_can_be_left(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await opened(pilot)
            await pilot.press("enter", "escape", "escape")
            assert pilot.app.screen is library(pilot.app)

    @asynchronous
    async def test_the_question_goes_when_the_job_is_done(self, fakes: Fakes) -> None:
        clock = StoppedClock()
        async with fakes.running(clock=clock) as pilot:
            await opened(pilot)
            await pilot.press("enter")
            clock.seconds = 6.0
            await pilot.press("escape")
            assert on_top(pilot.app, ConfirmDialog)
            fakes.listed.append(MADE)
            fakes.quantizations.finish(RESULT)
            table = library(pilot.app).query_one(ModelTable)
            await until(pilot, lambda: table.current == MADE)
            assert pilot.app.screen is library(pilot.app)

    @asynchronous
    async def test_the_question_goes_when_the_job_fails(self, fakes: Fakes) -> None:
        clock = StoppedClock()
        async with fakes.running(clock=clock) as pilot:
            shown = await opened(pilot)
            await pilot.press("enter")
            clock.seconds = 6.0
            await pilot.press("escape")
            fakes.quantizations.fail(StorageError("full"))
            await until(pilot, lambda: notice_text(shown) == "full")
            assert pilot.app.screen is shown

    @asynchronous
    async def test_the_dialog_waits_for_whatever_lies_above_it(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await opened(pilot)
            await pilot.press("enter", "f1")
            assert on_top(pilot.app, HelpDialog)
            fakes.listed.append(MADE)
            fakes.quantizations.finish(RESULT)
            shown = dialog(pilot.app)
            await until(pilot, lambda: shown.is_over)
            assert on_top(pilot.app, HelpDialog)
            await pilot.press("escape")
            table = library(pilot.app).query_one(ModelTable)
            await until(pilot, lambda: table.current == MADE)
            assert pilot.app.screen is library(pilot.app)

    @asynchronous
    async def test_quitting_stops_the_job(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await opened(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: bool(fakes.quantizations.calls))
            fakes.quantizations.wait_for_cancel()
            await pilot.press("ctrl+q")
