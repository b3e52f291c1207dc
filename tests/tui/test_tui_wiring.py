"""The app with the real services, offline, and what starting it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from localq.errors import NotFoundError, UsageError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest
from localq.services.pull.pull import PullRequest
from localq.tui.app import LocalqApp
from localq.tui.chat.status import ChatState
from localq.tui.screens.chat import ChatScreen
from localq.tui.screens.quantize import QuantizeDialog
from localq.tui.services import services_of
from localq.tui.widgets.ladder import Ladder
from localq.tui.widgets.model_table import ModelTable
from tests.tui_support import asynchronous, library, screen_text, until

_HEAVY = {"numpy", "llama_cpp", "huggingface_hub", "torch", "transformers", "gguf", "tokenizers"}
_UNOPENED = {"localq.tui.screens.chat", "localq.tui.screens.jobs", "localq.tui.screens.quantize"}


@asynchronous
async def test_from_nothing_to_a_reply(home: Paths) -> None:
    """The demo is pulled and made ready by two jobs in processes of their own; then it talks, is
    quantized once more, measured and verified, removed and brought back."""
    app = LocalqApp(services_of(Library(home)))
    try:
        async with app.run_test(size=(100, 30)) as pilot:
            screen = library(app)
            table = screen.query_one(ModelTable)

            async def reached(condition: Callable[[], bool]) -> None:
                await until(pilot, condition, patience=180)  # real work on a busy machine

            await reached(lambda: "The demo" in screen_text(app))
            await pilot.press("end", "enter")
            made = "demo/stories260K:Q8_0"
            await reached(lambda: table.model is not None and table.model.name == made)
            await reached(lambda: f"✓ {made} is ready" in screen_text(app))
            await pilot.press("enter")
            chat = app.screen
            assert isinstance(chat, ChatScreen)
            await reached(lambda: chat.status.state is ChatState.IDLE)
            await pilot.press(*"Once", "enter")
            await reached(lambda: chat.status.used > 5)
            while app.screen is chat:  # once if the reply is whole by now, else twice
                await pilot.press("escape")
            await pilot.press("q")
            dialog = app.screen
            assert isinstance(dialog, QuantizeDialog)
            await reached(lambda: bool(dialog.query_one(Ladder).rows))
            await pilot.press("home", "enter")
            await reached(lambda: len(screen.all_models) == 3)
            await pilot.press("v")
            await reached(lambda: app.news.jobs[-1].kind == "verify")
            await reached(lambda: not app.news.jobs[-1].state.is_active)
            assert app.news.jobs[-1].error is None
            await pilot.press("d", "y")
            await reached(lambda: len(screen.all_models) == 2)
            await pilot.press("u")
            await reached(lambda: len(screen.all_models) == 3)
    finally:
        app.end(20)
    assert len(Library(home).models()) == 3


def test_errors_of_the_real_services_are_localqs_own(home: Paths) -> None:
    services = services_of(Library(home))
    cancel = threading.Event()
    assert services.library.models() == []
    with pytest.raises(NotFoundError):
        services.library.show("nothing")
    with pytest.raises(NotFoundError):
        services.library.remove(["nothing"])
    with pytest.raises(NotFoundError):
        services.jobs.start(QuantizeRequest(QuantType.Q4_0, "nothing"))
    with pytest.raises(UsageError):
        services.jobs.start(PullRequest("not a name"))
    with services.chat.pool() as pool, pytest.raises(NotFoundError):
        services.chat.talk("nothing", None, pool, ignore, cancel)
    assert services.machine.fittings(["nothing"], cancel) == {}


def test_starting_imports_nothing_heavy_and_no_screen_that_is_not_open() -> None:
    code = (
        "import json, sys\n"
        "from localq.library import Library\n"
        "from localq.tui.app import LocalqApp\n"
        "from localq.tui.services import services_of\n"
        "import localq.tui.screens.library\n"
        "LocalqApp(services_of(Library()))\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not (_HEAVY | _UNOPENED) & set(json.loads(printed))
