"""The library screen: what it lists, what it shows of a model, how a model goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.widgets import Input

from localq.errors import LibraryError, StorageError
from localq.formats.types import QuantType
from localq.jobs import JobState
from localq.services.make.quantize import QuantizeRequest
from localq.services.pull.pull import Choice, PullRequest
from localq.services.pull.stream import PullAsRequest
from localq.tui.screens.chat import ChatScreen
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.screens.help import HelpDialog
from localq.tui.screens.pull import PullDialog
from localq.tui.widgets.details_panel import DetailsPanel
from localq.tui.widgets.key_bar import KeyBar
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

SMOL = gguf()
QWEN = gguf(
    "Qwen/Qwen2.5-1.5B-Instruct",
    QuantType.Q4_K_M,
    size=986_000_000,
    parameters=1_543_714_304,
    used=300.0,
)
RECOMMENDED = Choice("org/right-size", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [SMOL, QWEN, checkpoint()])


@pytest.fixture
def empty(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, offered=[RECOMMENDED])


def cursor(app: App[Any]) -> str | None:
    current = library(app).query_one(ModelTable).model
    return current.name if current else None


class TestEmpty:
    @asynchronous
    async def test_says_what_to_press(self, empty: Fakes) -> None:
        async with empty.running() as pilot:
            await until(pilot, lambda: "org/right-size" in screen_text(pilot.app))
            text = screen_text(pilot.app)
        assert "No models yet" in text
        assert "org/right-size  ★ recommended" in text
        assert "1.7B · 3.4 GB · fits in 7 GB" in text
        assert "Quantize" not in text

    @asynchronous
    async def test_one_key_gets_the_recommended_model(self, empty: Fakes) -> None:
        async with empty.running() as pilot:
            await until(pilot, lambda: "org/right-size" in screen_text(pilot.app))
            await pilot.press("enter")
            await until(pilot, lambda: "is under way" in screen_text(pilot.app))
            empty.listed.append(SMOL)
            empty.end(1, JobState.FINISHED, result=SMOL.name)
            await until(pilot, lambda: cursor(pilot.app) == SMOL.name)
            await until(pilot, lambda: f"✓ {SMOL.name} is ready" in screen_text(pilot.app))
            assert isinstance(pilot.app.focused, ModelTable)
        assert empty.requests == [PullAsRequest("org/right-size", QuantType.Q4_K_M)]

    @asynchronous
    async def test_the_demo_is_made_ready_to_talk_to(self, empty: Fakes) -> None:
        async with empty.running() as pilot:
            await until(pilot, lambda: "The demo" in screen_text(pilot.app))
            await pilot.press("end", "enter")
            await until(pilot, lambda: bool(empty.requests))
            empty.end(1, JobState.FINISHED, result="demo/stories260K")
            await until(pilot, lambda: len(empty.requests) == 2)
        assert empty.requests == [
            PullRequest("demo"),
            QuantizeRequest(QuantType.Q8_0, model="demo/stories260K"),
        ]

    @asynchronous
    async def test_without_suggestions_the_demo_remains(self, empty: Fakes) -> None:
        empty.offer_error = StorageError("memory cannot be measured")
        async with empty.running() as pilot:
            await until(pilot, lambda: "The demo shows how" in screen_text(pilot.app))


class TestTable:
    @asynchronous
    async def test_lists_models_in_human_units(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await until(pilot, lambda: "✓ 1.0 GB" in screen_text(pilot.app))
            text = screen_text(pilot.app)
        assert "3 models · 1.3 GB" in text
        row = next(line for line in text.splitlines() if "Q4_K_M" in line)
        assert row.split() == [
            *("│", "Qwen/Qwen2.5-1.5B-Instruct", "Q4_K_M", "986", "MB", "✓", "1.0", "GB", "5"),
            *("min", "ago", "│"),
        ]

    @asynchronous
    async def test_begins_at_the_model_used_last(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            assert cursor(pilot.app) == QWEN.name

    @asynchronous
    async def test_details_follow_the_cursor(self, fakes: Fakes) -> None:
        async with fakes.running((120, 40)) as pilot:
            await until(pilot, lambda: "211 Q4_K_M, 61 F32" in screen_text(pilot.app))
            await pilot.press("up")
            assert cursor(pilot.app) == SMOL.name
            await until(pilot, lambda: "211 Q4_0, 61 F32" in screen_text(pilot.app))
            text = screen_text(pilot.app)
            assert "8,192 tokens" in text
            assert "12fd25f7" in text
            assert "apache-2.0" in text
            await pilot.press("k")
            await until(pilot, lambda: "272 BF16" in screen_text(pilot.app))
            assert "Chat template" not in screen_text(pilot.app)

    @asynchronous
    async def test_unreadable_model_says_so_in_its_details(self, fakes: Fakes) -> None:
        fakes.show_error = StorageError(
            "/models/x.gguf: no such file", hint="connect its disk, or: localq rm a/b"
        )
        async with fakes.running((120, 40)) as pilot:
            await until(
                pilot, lambda: "→ connect its disk, or: 1 d (Remove)" in screen_text(pilot.app)
            )

    @asynchronous
    async def test_refresh_finds_new_models_and_keeps_the_cursor(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            fakes.listed.append(gguf("a/first", used=0.0))
            await pilot.press("r")
            await until(pilot, lambda: "4 models" in screen_text(pilot.app))
            assert cursor(pilot.app) == QWEN.name

    @asynchronous
    async def test_text_of_others_is_drawn_as_it_is(self, tmp_path: Path) -> None:
        evil = gguf("[bold]evil/[link=x]na\x1b[31mme\u202e[/]", QuantType.F16)
        async with Fakes(tmp_path, [evil]).running((120, 40)) as pilot:
            await until(pilot, lambda: "211 F16" in screen_text(pilot.app))
            text = screen_text(pilot.app)
            assert "[bold]evil/[link=x]na\ufffd[31mme\ufffd[/]" in text
            await pilot.press("d")
            assert "Move [bold]evil/[link=x]na\ufffd[31mme\ufffd[/]:F16 to" in screen_text(
                pilot.app
            )

    @asynchronous
    async def test_checkpoint_alone_cannot_chat(self, tmp_path: Path) -> None:
        async with Fakes(tmp_path, [checkpoint()]).running() as pilot:
            await pilot.press("enter")
            await until(pilot, lambda: "is a checkpoint: q makes" in screen_text(pilot.app))
            assert pilot.app.screen is library(pilot.app)

    @asynchronous
    async def test_checkpoint_opens_the_gguf_made_of_it(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("home", "enter")
            await until(pilot, lambda: bool(fakes.openings.calls))
            assert isinstance(pilot.app.screen, ChatScreen)
        assert fakes.openings.calls == [(SMOL.name,)]


class TestKeys:
    @asynchronous
    async def test_a_key_of_the_bar_can_be_clicked(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            column = screen_text(pilot.app).splitlines()[-1].index("Pull")
            await pilot.click(KeyBar, offset=(column, 0))
            await until(pilot, lambda: isinstance(pilot.app.screen, PullDialog))

    @asynchronous
    async def test_help_opens_once_and_closes(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("f1", "f1")
            assert len(pilot.app.screen_stack) == 2
            assert "Give another name" in screen_text(pilot.app)
            await pilot.press("escape")
            assert pilot.app.screen is library(pilot.app)


class TestFilter:
    @asynchronous
    async def test_narrows_while_typing(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("slash", *"smol q4")
            assert "1 of 3 models" in screen_text(pilot.app)
            assert cursor(pilot.app) == SMOL.name
            await pilot.press("enter")
            assert isinstance(pilot.app.focused, ModelTable)
            assert "1 of 3 models" in screen_text(pilot.app)

    @asynchronous
    async def test_keys_are_text_while_typing(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("slash", *"qpdr?/")
            assert pilot.app.screen is library(pilot.app)
            assert library(pilot.app).query_one("#filter", Input).value == "qpdr?/"

    @asynchronous
    async def test_no_match_then_escape(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("slash", *"mistral")
            assert "No model matches “mistral”" in screen_text(pilot.app)
            await pilot.press("escape")
            assert "3 models" in screen_text(pilot.app)
            assert cursor(pilot.app) == QWEN.name
            assert isinstance(pilot.app.focused, ModelTable)


class TestDelete:
    @asynchronous
    async def test_names_what_will_be_freed(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("d")
            assert isinstance(pilot.app.screen, ConfirmDialog)
            text = screen_text(pilot.app)
        assert f"Move {QWEN.name} to the" in text
        assert "986 MB until the trash is emptied" in text

    @pytest.mark.parametrize("keys", [["n"], ["escape"], ["enter"]])
    @asynchronous
    async def test_keeps_unless_told_yes(self, fakes: Fakes, keys: list[str]) -> None:
        async with fakes.running() as pilot:
            await pilot.press("d", *keys)
            assert pilot.app.screen is library(pilot.app)
        assert fakes.removed == []

    @pytest.mark.parametrize("keys", [["y"], ["left", "enter"]])
    @asynchronous
    async def test_deletes_and_tells(self, fakes: Fakes, keys: list[str]) -> None:
        async with fakes.running() as pilot:
            await pilot.press("d", *keys)
            await until(pilot, lambda: "2 models" in screen_text(pilot.app))
            assert "In the trash (986 MB; u brings it back): Qwen" in screen_text(pilot.app)
        assert fakes.removed == [QWEN.name]

    @asynchronous
    async def test_refusal_is_shown(self, fakes: Fakes) -> None:
        fakes.remove_error = LibraryError("not localq's file", hint="delete it yourself")
        async with fakes.running() as pilot:
            await pilot.press("d", "y")
            await until(
                pilot,
                lambda: "✗ not localq's file  → delete it yourself" in screen_text(pilot.app),
            )
            assert "3 models" in screen_text(pilot.app)

    @asynchronous
    async def test_last_one_leaves_the_empty_state(self, fakes: Fakes) -> None:
        del fakes.listed[1:]
        async with fakes.running() as pilot:
            await pilot.press("d", "y")
            await until(pilot, lambda: "No models yet" in screen_text(pilot.app))

    @asynchronous
    async def test_what_was_removed_can_be_brought_back(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("d", "y")
            await until(pilot, lambda: "2 models" in screen_text(pilot.app))
            await pilot.press("u")
            await until(pilot, lambda: "3 models" in screen_text(pilot.app))

    @asynchronous
    async def test_several_at_once(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("home", "space", "space")
            assert "2 chosen" in screen_text(pilot.app)
            await pilot.press("d")
            assert "Move 2 models to the trash?" in screen_text(pilot.app)
            await pilot.press("y")
            await until(pilot, lambda: "1 model " in screen_text(pilot.app))
        assert len(fakes.removed) == 2


class TestSorting:
    @asynchronous
    async def test_by_key_and_by_click(self, fakes: Fakes) -> None:
        async with fakes.running((120, 40)) as pilot:
            screen = library(pilot.app)

            def names() -> list[str]:
                return [row.model.name for row in screen.query_one(ModelTable).rows]

            await pilot.press("b", "s")
            assert screen.sort == "size"
            assert names() == [QWEN.name, checkpoint().name, SMOL.name]
            heading = screen_text(pilot.app).splitlines()[2].index("Name")
            await pilot.click(ModelTable, offset=(heading - 1, 0))
            assert names() == [checkpoint().name, SMOL.name, QWEN.name]
            await pilot.click(ModelTable, offset=(5, 3))
            assert cursor(pilot.app) == QWEN.name


class TestDetails:
    @asynchronous
    async def test_pages(self, fakes: Fakes) -> None:
        async with fakes.running((120, 40)) as pilot:
            await until(pilot, lambda: "8,192 tokens" in screen_text(pilot.app))
            await pilot.press("left")
            assert "llama.context_length" in screen_text(pilot.app)
            await pilot.press("left")
            assert "{{ messages }}" in screen_text(pilot.app)
            await pilot.press("left")
            assert "64×64" in screen_text(pilot.app)


class TestTrouble:
    @asynchronous
    async def test_unreadable_library_can_be_tried_again(self, fakes: Fakes) -> None:
        fakes.list_error = LibraryError("the database is damaged", hint="localq doctor")
        async with fakes.running() as pilot:
            assert notice_text(pilot.app.screen) == "the database is damaged\n→ localq doctor"
            fakes.list_error = None
            await pilot.press("r")
            await until(pilot, lambda: "3 models" in screen_text(pilot.app))
            assert notice_text(pilot.app.screen) is None

    @asynchronous
    async def test_app_outlives_a_service_that_breaks(self, fakes: Fakes) -> None:
        fakes.list_error = ZeroDivisionError("by zero [bold]")
        async with fakes.running() as pilot:
            told = notice_text(pilot.app.screen) or ""
            assert "ZeroDivisionError: by zero [bold]" in told
            assert str(fakes.log) in told
            await pilot.press("question_mark")
            assert isinstance(pilot.app.screen, HelpDialog)
        assert "Traceback" in fakes.log.read_text(encoding="utf-8")


class TestSizes:
    @asynchronous
    async def test_wide_has_two_columns(self, fakes: Fakes) -> None:
        async with fakes.running((120, 40)) as pilot:
            table = pilot.app.screen.query_one(ModelTable)
            details = pilot.app.screen.query_one(DetailsPanel)
            assert details.region.x >= table.region.right

    @asynchronous
    async def test_medium_has_details_below(self, fakes: Fakes) -> None:
        async with fakes.running((80, 24)) as pilot:
            table = pilot.app.screen.query_one(ModelTable)
            details = pilot.app.screen.query_one(DetailsPanel)
            assert details.region.y >= table.region.bottom

    @asynchronous
    async def test_tiny_keeps_to_the_essential(self, fakes: Fakes) -> None:
        async with fakes.running((60, 20)) as pilot:
            text = screen_text(pilot.app)
            assert max(len(line) for line in text.splitlines()) <= 60
            assert "SmolLM2-135M-Instruct" in text
            assert "Params" not in text
            assert "^q Quit" in text
            details = pilot.app.screen.query_one(DetailsPanel)
            assert not details.display
            await pilot.press("i")
            assert details.display
            await until(pilot, lambda: "8,192 tokens" in screen_text(pilot.app))

    @asynchronous
    async def test_columns_follow_the_terminal(self, fakes: Fakes) -> None:
        async with fakes.running((120, 40)) as pilot:
            assert "Memory  " in screen_text(pilot.app)
            await pilot.resize_terminal(60, 20)
            await until(pilot, lambda: "Memory  " not in screen_text(pilot.app))
            assert cursor(pilot.app) == QWEN.name
