"""The app with the real services, offline, and what starting it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from localq.errors import NotFoundError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.tui.app import LocalqApp
from localq.tui.chat_status import ChatState
from localq.tui.screens.chat import ChatScreen
from localq.tui.screens.library import LibraryScreen
from localq.tui.widgets.model_table import ModelTable
from localq.tui.wiring import services_of
from tests.tui_support import asynchronous, library, screen_text, until

_HEAVY = {"numpy", "llama_cpp", "huggingface_hub", "torch", "transformers", "gguf", "tokenizers"}


@asynchronous
async def test_from_nothing_to_a_reply(home: Paths) -> None:
    app = LocalqApp(services_of(Library(home)))
    try:
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            screen = library(app)
            table = screen.query_one(ModelTable)

            async def reached(condition: Callable[[], bool]) -> None:
                await until(pilot, condition, patience=180)  # real work on a busy machine

            await reached(lambda: screen.models == ())
            await pilot.press("t")
            await reached(lambda: table.current is not None)
            assert table.current is not None
            assert table.current.name == "demo/stories260K"
            await pilot.press("q")
            await pilot.press("up", "enter")
            await reached(lambda: isinstance(app.screen, LibraryScreen))
            made = "demo/stories260K:Q4_0"
            await reached(lambda: table.current is not None and table.current.name == made)
            await reached(lambda: "Q4_0, " in screen_text(app))
            await pilot.press("enter")
            chat = app.screen
            assert isinstance(chat, ChatScreen)
            await reached(lambda: chat.status.state is ChatState.IDLE)
            await pilot.press(*"Once", "enter")
            await reached(lambda: chat.status.used > 5)
            while app.screen is chat:  # once if the reply is whole by now, else twice
                await pilot.press("escape")
            await pilot.press("d", "y")
            await reached(lambda: "1 model " in screen_text(app))
    finally:
        app.jobs.stop(20)
    assert [model.name for model in Library(home).models()] == ["demo/stories260K"]


def test_errors_of_the_real_services_are_localqs_own(home: Paths) -> None:
    services = services_of(Library(home))
    cancel = threading.Event()
    assert services.models() == []
    with pytest.raises(NotFoundError):
        services.show("nothing")
    with pytest.raises(NotFoundError):
        services.remove("nothing")
    with pytest.raises(NotFoundError):
        services.quantize("nothing", QuantType.Q4_0, False, ignore, cancel)
    with pytest.raises(NotFoundError):
        services.open_chat("nothing", ignore, cancel)


def test_starting_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from localq.library import Library\n"
        "from localq.tui.app import LocalqApp\n"
        "from localq.tui.wiring import services_of\n"
        "LocalqApp(services_of(Library()))\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not _HEAVY & set(json.loads(printed))
