"""The Hub screen with the real services, against a Hub on the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from localq.library import Library
from localq.paths import Paths
from localq.services.pull.pull import PullRequest
from localq.services.pull.stream import PullAsRequest
from localq.tui.app import LocalqApp
from localq.tui.services import services_of
from localq.tui.widgets.ladder import Ladder
from tests.hub_server import HubServer, Refuse
from tests.streams import demo_in_shards
from tests.tui_support import asynchronous, screen_text, until

_ENOUGH = 60.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_in_shards(tmp_path_factory.mktemp("checkpoint") / "tiny")


@asynccontextmanager
async def at_the_hub(home: Paths, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    app = LocalqApp(services_of(Library(home)))
    begun: list[object] = []
    app.begin_job = lambda make, what, then=None: begun.append(make())  # type: ignore[method-assign]
    app.begun = begun  # type: ignore[attr-defined]
    app.animation_level = "none"
    try:
        async with app.run_test(size=size) as pilot:
            await pilot.press("2")
            await until(pilot, lambda: "Search the Hub" in screen_text(app))
            yield pilot
    finally:
        app.end(_ENOUGH)


@asynchronous
async def test_from_words_to_a_type(home: Paths, hub: HubServer, checkpoint: Path) -> None:
    hub.add_repo("org/tiny-llama", checkpoint).facts = {"downloads": 1500}
    hub.add_repo("org/else", checkpoint)
    async with at_the_hub(home) as pilot:
        await pilot.press(*"tiny")
        await until(pilot, lambda: "org/tiny-llama" in screen_text(pilot.app))
        assert "org/else" not in screen_text(pilot.app)
        searches = [path for path in hub.paths() if path.startswith("/api/models?")]
        assert len(searches) <= 2  # not one for each letter
        await pilot.press("down", "enter")
        ladder = pilot.app.screen.query_one(Ladder)
        await until(pilot, lambda: bool(ladder.rows))
        text = screen_text(pilot.app)
        assert "★ recommended" in text
        assert "Q8_0" in text
        weights = [request for request in hub.requests if request.path.endswith(".safetensors")]
        gets = [request for request in weights if request.method == "GET"]
        assert all("Range" in request.headers for request in gets)  # headers, not weights
        await pilot.press("enter")
        chosen = ladder.current
        assert chosen is not None
        await pilot.press("w")
        request, whole = pilot.app.begun  # type: ignore[attr-defined]
        assert isinstance(request, PullAsRequest)
        assert (request.spec, request.type.name) == ("org/tiny-llama", chosen.quant)
        assert whole == PullRequest("org/tiny-llama")
        await pilot.press("escape")
        assert "org/tiny-llama" in screen_text(pilot.app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
@asynchronous
async def test_a_gated_repository_says_what_to_do(
    home: Paths, hub: HubServer, checkpoint: Path, size: tuple[int, int]
) -> None:
    hub.add_repo("org/gated", checkpoint).gated_for = "hf_x"
    async with at_the_hub(home, size) as pilot:
        await pilot.press(*"org/gated", "enter")
        await until(pilot, lambda: "is gated" in screen_text(pilot.app))
        assert "→" in screen_text(pilot.app)


@asynchronous
async def test_a_search_that_is_refused_can_be_tried_again(
    home: Paths, hub: HubServer, checkpoint: Path
) -> None:
    hub.add_repo("org/tiny-llama", checkpoint)
    hub.faults.append(Refuse("/api/models", status=400, times=1))
    async with at_the_hub(home) as pilot:
        await pilot.press(*"tiny", "enter")
        await until(pilot, lambda: "▌" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "org/tiny-llama" in screen_text(pilot.app))
