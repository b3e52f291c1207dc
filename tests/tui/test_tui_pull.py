"""The pull dialog."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from localq.errors import HubError, OfflineError
from localq.events import Progress
from localq.services.pull.pull import Choice, PullResult
from localq.tui.screens.pull import PullDialog
from localq.tui.widgets.choice_list import ChoiceList, SpecInput
from localq.tui.widgets.model_table import ModelTable
from tests.tui_support import (
    Fakes,
    asynchronous,
    checkpoint,
    gguf,
    library,
    notice_text,
    screen_text,
    until,
)

PULLED = checkpoint("org/small", used=0.0)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    offered = [
        Choice("org/right-size", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True),
        Choice("org/small", 494_032_768, 988_000_000, "quick", False),
    ]
    return Fakes(tmp_path / "log" / "tui.log", [gguf()], offered)


async def opened(pilot: Pilot[None]) -> PullDialog:
    await pilot.press("p")
    dialog = pilot.app.screen
    assert isinstance(dialog, PullDialog)
    return dialog


@asynchronous
async def test_pulls_what_is_typed(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await opened(pilot)
        assert isinstance(pilot.app.focused, SpecInput)
        await pilot.press(*" o/n@v1 ", "enter")
        await until(pilot, lambda: fakes.pulls.calls == [("o/n@v1",)])
        fakes.pulls.emit(Progress("model.safetensors", 500_000, 2_000_000))
        await until(pilot, lambda: "500 kB of 2.0 MB" in screen_text(pilot.app))
        assert "o/n@v1" in screen_text(pilot.app)
        fakes.listed.append(PULLED)
        fakes.pulls.finish(PullResult(PULLED, 2_000_000, already_there=False))
        table = library(pilot.app).query_one(ModelTable)
        await until(pilot, lambda: table.current == PULLED)
        assert "org/small is ready" in screen_text(pilot.app)


@asynchronous
async def test_nothing_typed_pulls_nothing(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await opened(pilot)
        await pilot.press("space", "enter", "escape")
        assert pilot.app.screen is library(pilot.app)
    assert fakes.pulls.calls == []


@asynchronous
async def test_pulls_what_is_chosen(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        await until(pilot, lambda: "org/small" in screen_text(pilot.app))
        assert "org/right-size  recommended" in screen_text(pilot.app)
        await pilot.press("down")
        assert isinstance(pilot.app.focused, ChoiceList)
        await pilot.press("up")
        assert isinstance(pilot.app.focused, SpecInput)
        await pilot.press("down")
        await until(pilot, lambda: dialog.query_one(ChoiceList).highlighted == 0)
        await pilot.press("down", "enter")
        await until(pilot, lambda: fakes.pulls.calls == [("org/small",)])
        fakes.pulls.finish(PullResult(fakes.listed[0], 0, already_there=True))
        await until(pilot, lambda: "was there already" in screen_text(pilot.app))


@asynchronous
async def test_failure_keeps_what_was_typed(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        await pilot.press(*"o/n", "enter")
        fakes.pulls.fail(HubError("the Hub has no o/n", hint="check its spelling"))
        await until(pilot, lambda: notice_text(dialog) is not None)
        assert notice_text(dialog) == "the Hub has no o/n\n→ check its spelling"
        assert dialog.query_one(SpecInput).value == "o/n"
        assert isinstance(pilot.app.focused, SpecInput)


@asynchronous
async def test_without_suggestions_a_name_can_be_typed(fakes: Fakes) -> None:
    fakes.offer_error = OfflineError("no network")
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        await until(pilot, lambda: notice_text(dialog) == "no network")
        assert "No suggestions" in screen_text(pilot.app)
        await pilot.press(*"demo", "enter")
        await until(pilot, lambda: fakes.pulls.calls == [("demo",)])


@asynchronous
async def test_stopping(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        await pilot.press(*"demo", "enter", "escape")
        fakes.pulls.wait_for_cancel()
        await until(pilot, lambda: notice_text(dialog) == "Stopped.")


@asynchronous
async def test_one_pull_at_a_time(fakes: Fakes) -> None:
    """Enter pressed twice, faster than the dialog changes, starts one job, and Stop ends it."""
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        field = dialog.query_one(SpecInput)
        await pilot.press(*"o/n")
        for _ in range(2):
            field.post_message(Input.Submitted(field, "o/n"))
        await until(pilot, lambda: fakes.pulls.calls != [])
        await pilot.press("escape")
        fakes.pulls.wait_for_cancel()
        await until(pilot, lambda: notice_text(dialog) == "Stopped.")
        assert fakes.pulls.calls == [("o/n",)]


@asynchronous
async def test_a_small_terminal_shows_the_error(tmp_path: Path) -> None:
    offered = [
        Choice(f"org/model-{number}", 1_000_000_000, 2_000_000_000, "fits", number == 0)
        for number in range(12)
    ]
    fakes = Fakes(tmp_path / "log" / "tui.log", [gguf()], offered)
    async with fakes.running((80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "org/model-3" in screen_text(pilot.app))
        await pilot.press(*"o/n", "enter")
        fakes.pulls.fail(HubError("the Hub has no o/n", hint="check its spelling"))
        await until(pilot, lambda: "the Hub has no o/n" in screen_text(pilot.app))
        assert "check its spelling" in screen_text(pilot.app)


@asynchronous
async def test_quitting_while_something_is_pulled_asks(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot)
        await pilot.press(*"demo", "enter")
        await until(pilot, lambda: fakes.pulls.calls != [])
        await pilot.press("ctrl+q")
        await until(pilot, lambda: "Quit, and stop this job?" in screen_text(pilot.app))
        assert "What has arrived" in screen_text(pilot.app)
        await pilot.press("ctrl+q", "n")
        assert pilot.app.screen is dialog
        assert pilot.app.is_running
        await pilot.press("ctrl+q", "y")
        fakes.pulls.wait_for_cancel()
        await until(pilot, lambda: not pilot.app.is_running)
