"""What holds for the whole app: commands, languages, mistakes, Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.command import CommandPalette

from localq.paths import Paths
from localq.settings import Settings, read_settings, settings_file, write_settings
from localq.tui.screens.jobs import JobsScreen
from tests.tui_support import Fakes, asynchronous, gguf, screen_text, until


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [gguf()])


@asynchronous
async def test_the_palette_has_everything(fakes: Fakes) -> None:
    async with fakes.running((100, 30)) as pilot:
        commands = {each.title for each in pilot.app.get_system_commands(pilot.app.screen)}
        assert {"Jobs", "Quantize", "Verify every byte", "Theme", "Quit", "Tags"} <= commands
        await pilot.press("ctrl+p", *"jobs")
        assert isinstance(pilot.app.screen, CommandPalette)
        await until(pilot, lambda: "Go there (3)" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))


@asynchronous
async def test_ctrl_c_never_leaves(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await pilot.press("ctrl+c")
        assert "^q quits." in screen_text(pilot.app)
        assert pilot.app.is_running


@asynchronous
async def test_a_language_and_a_theme_that_were_chosen(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCALQ_LANG")
    write_settings(fakes.paths, Settings(language="zh_CN", theme="localq-light"))
    async with fakes.running() as pilot:
        assert pilot.app.theme == "localq-light"
        assert "退出" in screen_text(pilot.app)


def test_settings_that_make_no_sense_are_as_they_come(home: Paths) -> None:
    assert read_settings(home) == Settings()
    settings_file(home).parent.mkdir(parents=True)
    settings_file(home).write_text('{"language": 7, "theme": "x", "more": 1}', encoding="utf-8")
    assert read_settings(home) == Settings(theme="x")
    settings_file(home).write_text("[" * 10000, encoding="utf-8")
    assert read_settings(home) == Settings()
