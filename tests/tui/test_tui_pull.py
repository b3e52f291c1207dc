"""The pull dialog."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from localq.errors import StorageError
from localq.services.pull.pull import Choice, PullRequest
from localq.tui.screens.pull import PullDialog
from localq.tui.widgets.choice_list import ChoiceList
from tests.tui_support import Fakes, asynchronous, gguf, library, notice_text, screen_text, until

OFFERED = [
    Choice("org/best", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True),
    Choice("org/small", 135_000_000, 272_000_000, "", False),
]


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [gguf()], offered=[*OFFERED])


@asynchronous
async def test_a_name_is_typed(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await pilot.press("p", *"org/model:q4_0", "enter")
        await until(pilot, lambda: "pull org/model:q4_0 is under way" in screen_text(pilot.app))
        assert pilot.app.screen is library(pilot.app)
    assert fakes.requests == [PullRequest("org/model:q4_0")]


@asynchronous
async def test_one_is_chosen(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "org/small" in screen_text(pilot.app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: bool(fakes.requests))
    assert fakes.requests == [PullRequest("org/small")]


@asynchronous
async def test_sizes_follow_when_the_hub_tells_them(fakes: Fakes) -> None:
    fakes.offered[0] = Choice("org/best", None, None, "fits in 7 GB", True)
    fakes.sizes["org/best"] = (1_711_376_384, 3_422_000_000)
    async with fakes.running() as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "1.7B · 3.4 GB · fits in 7 GB" in screen_text(pilot.app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(fakes.requests))
    assert fakes.requests == [PullRequest("org/best")]


@asynchronous
async def test_up_leads_back_to_the_field(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "org/small" in screen_text(pilot.app))
        await pilot.press("down")
        assert isinstance(pilot.app.focused, ChoiceList)
        await pilot.press("up")
        assert isinstance(pilot.app.focused, Input)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (120, 40)])
@asynchronous
async def test_what_is_wrong_with_a_name_can_be_read(fakes: Fakes, size: tuple[int, int]) -> None:
    async with fakes.running(size) as pilot:
        await pilot.press("p", *"not a name", "enter")
        dialog = pilot.app.screen
        assert isinstance(dialog, PullDialog)
        await until(pilot, lambda: notice_text(dialog) is not None)
        told = (notice_text(dialog) or "").splitlines()[0]
        assert told[:30] in screen_text(pilot.app)
        assert dialog.query_one(Input).value == "not a name"
        await pilot.press("escape")
        assert pilot.app.screen is library(pilot.app)
    assert fakes.requests == []


@asynchronous
async def test_without_suggestions_a_name_can_be_typed(fakes: Fakes) -> None:
    fakes.offer_error = StorageError("memory cannot be measured", hint="free some")
    async with fakes.running() as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "No suggestions" in screen_text(pilot.app))
        assert notice_text(pilot.app.screen) == "memory cannot be measured\n→ free some"


@asynchronous
async def test_what_cannot_begin_is_said(fakes: Fakes) -> None:
    fakes.start_error = StorageError("the disk is full", hint="free some space")
    async with fakes.running() as pilot:
        await pilot.press("p", *"org/model", "enter")
        await until(pilot, lambda: "✗ the disk is full  → free some" in screen_text(pilot.app))
