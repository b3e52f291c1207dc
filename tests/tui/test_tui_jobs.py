"""The jobs screen, and what every screen shows of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.jobs import JobProgress, JobState
from localq.services.pull.pull import PullRequest
from localq.tui.screens.jobs import JobsScreen
from localq.tui.screens.quit import QuitDialog
from localq.tui.widgets.status_line import StatusLine
from tests.tui_support import Fakes, asynchronous, gguf, library, screen_text, until


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [gguf()])


@asynchronous
async def test_jobs_of_others_are_seen_everywhere(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        job = fakes.begin("pull org/model")
        fakes.store.save(job, JobProgress("fetching", 430, 1000, speed=100.0))
        await until(pilot, lambda: "43 %" in screen_text(pilot.app))
        assert "pull org/model" in screen_text(pilot.app)
        await pilot.click(StatusLine)
        await until(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
        await until(pilot, lambda: "▶ running" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "430 B of 1.0 kB · 100 B/s · 0:06 left" in text
        assert "1 running" in text
        fakes.end(job, JobState.FAILED, error="no such model", hint="look at its name")
        await until(pilot, lambda: "✗ failed" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "✗ pull org/model failed: no such model" in text
        assert "→ look at its name" in text


@asynchronous
async def test_stop_go_on_and_forget(fakes: Fakes) -> None:
    async with fakes.running((100, 30)) as pilot:
        job = fakes.begin("pull org/model")
        await pilot.press("3")
        await until(pilot, lambda: "▶ running" in screen_text(pilot.app))
        assert "Go on" not in screen_text(pilot.app)
        await pilot.press("s")
        await until(pilot, lambda: fakes.store.is_asked_to_stop(job))
        fakes.end(job, JobState.CANCELLED)
        await until(pilot, lambda: "■ stopped" in screen_text(pilot.app))
        assert "r Go on" in screen_text(pilot.app)
        await pilot.press("x")
        await until(pilot, lambda: "Nothing has been done yet" in screen_text(pilot.app))
        assert fakes.store.jobs() == []


@asynchronous
async def test_the_log_of_a_job(fakes: Fakes) -> None:
    job = fakes.begin("pull org/model")
    log = fakes.store.log(job)
    log.parent.mkdir(parents=True)
    log.write_text("first line\n\x1b[31mlast line\n", encoding="utf-8")
    async with fakes.running((100, 30)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "last line" in screen_text(pilot.app))
        await pilot.press("l", "escape")


@asynchronous
async def test_the_model_a_job_made_is_shown(fakes: Fakes) -> None:
    made = gguf("org/other")
    fakes.listed.append(made)
    job = fakes.begin("pull org/other")
    fakes.end(job, JobState.FINISHED, result=made.name)
    async with fakes.running() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "✓ finished" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is library(pilot.app))
        screen = library(pilot.app)
        await until(pilot, lambda: screen.current == made)


@pytest.mark.parametrize("answer", ["l", "s", "n"])
@asynchronous
async def test_quitting_asks_what_becomes_of_jobs(fakes: Fakes, answer: str) -> None:
    async with fakes.running() as pilot:
        fakes.begin("pull of/another")
        await pilot.press("p", *"org/model", "enter")
        await until(pilot, lambda: "is under way" in screen_text(pilot.app))
        await until(pilot, lambda: "pull org/model" in str(fakes.store.jobs()))
        (job,) = [job.id for job in fakes.store.jobs() if "org/model" in job.title]
        await until(pilot, lambda: len(pilot.app.news.jobs) == 2)  # type: ignore[attr-defined]
        await pilot.press("ctrl+q", "ctrl+q")
        assert isinstance(pilot.app.screen, QuitDialog)
        text = screen_text(pilot.app)
        assert "pull org/model" in text
        assert "of/another" not in text
        await pilot.press(answer)
        if answer == "n":
            assert pilot.app.screen_stack == [library(pilot.app)]
        else:
            await until(pilot, lambda: not pilot.app.is_running)
        assert fakes.store.is_asked_to_stop(job) == (answer == "s")
    assert fakes.requests == [PullRequest("org/model")]


@asynchronous
async def test_nothing_is_asked_where_nothing_runs(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not pilot.app.is_running)
