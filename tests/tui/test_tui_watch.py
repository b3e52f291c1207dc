"""What the app hears of its home, whoever changes it; and what holds it up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from localq.jobs import Draft, JobState, JobStore
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.paths import Paths
from localq.tui.watch import HomeNews, HomeWatch
from localq.tui.watchdog import Watchdog, watchdog_of


def enter(library: Library, name: str) -> None:
    path = library.gguf_path(name, "Q4_0")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    model = Model(
        name=f"{name}:Q4_0",
        format=ModelFormat.GGUF,
        quant="Q4_0",
        architecture="llama",
        parameters=1,
        size_bytes=4,
        path=path,
        source=ModelSource(name, None),
        created_at=1.0,
        used_at=1.0,
    )
    library.add(model, [path], {path: "0" * 64})


def test_models_are_read_again_only_where_they_changed(home: Paths) -> None:
    library, heard = Library(home), list[HomeNews]()
    enter(library, "a/b")
    watch = HomeWatch(home, library.revision)
    watch.look(heard.append)
    assert [news.library for news in heard] == [0]  # as they were when the watch was made
    store = JobStore(home)
    job_id, lock = store.begin(Draft("pull", "pull c/d", "{}"))
    watch.look(heard.append)
    assert (heard[-1].library, heard[-1].jobs[-1].title) == (0, "pull c/d")
    enter(library, "c/d")
    watch.look(heard.append)
    assert heard[-1].library == 1
    library.labels.set_note("a/b:Q4_0", "new")
    watch.look(heard.append)
    assert heard[-1].library == 2
    store.end(job_id, JobState.FINISHED, store.job(job_id).progress)
    lock.release()
    watch.look(heard.append)
    assert (heard[-1].library, heard[-1].jobs[-1].state) == (2, JobState.FINISHED)
    before = len(heard)
    watch.look(heard.append)
    assert len(heard) == before


def test_what_changes_before_the_first_look_is_not_missed(home: Paths) -> None:
    library, heard = Library(home), list[HomeNews]()
    watch = HomeWatch(home, library.revision)
    enter(library, "a/b")
    watch.look(heard.append)
    assert heard[-1].library == 1


def test_the_watchdog_says_what_held_the_loop_up(tmp_path: Path) -> None:
    log = tmp_path / "tui.log"
    watchdog = Watchdog(0.02, log)

    async def app() -> None:
        watchdog.start()
        deadline = time.monotonic() + 20
        while not log.exists() and time.monotonic() < deadline:
            pass  # as a mistake would: the loop gets no turn
        await asyncio.sleep(0.05)

    asyncio.run(app())
    watchdog.stop()
    text = log.read_text(encoding="utf-8")
    assert "held up for" in text
    assert "in app" in text
    assert "beats, late by" in text


@pytest.mark.parametrize(
    ("value", "made"), [("100", True), ("", False), ("x", False), ("0", False)]
)
def test_the_watchdog_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, *, made: bool
) -> None:
    monkeypatch.setenv("LOCALQ_WATCHDOG", value)
    assert (watchdog_of(tmp_path / "log") is not None) is made
