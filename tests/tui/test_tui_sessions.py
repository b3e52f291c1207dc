"""What can be done in the chat screen with sessions and their messages. The services are real, only
the engine is a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select, TextArea

from localq.formats.types import QuantType
from localq.sessions import NewMessage, OnFull, SessionStore
from localq.tui.app import LocalqApp
from localq.tui.chat.status import ChatState
from localq.tui.screens.chat import ChatScreen
from localq.tui.screens.chat_settings import ChatSettingsDialog
from localq.tui.screens.compare import CompareScreen, ModelDialog
from localq.tui.screens.session_list import SessionList
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.prompt import Prompt
from tests.tui_support import (
    Fakes,
    asynchronous,
    generation,
    gguf,
    screen_text,
    until,
)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [gguf()])


def store(fakes: Fakes) -> SessionStore:
    return SessionStore(fakes.paths)


async def opened(pilot: Pilot[None], fakes: Fakes) -> ChatScreen:
    fakes.openings.finish(True)
    await pilot.press("enter")
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    await ready(pilot, screen)
    return screen


async def ready(pilot: Pilot[None], screen: ChatScreen) -> None:
    await until(pilot, lambda: screen.status.state is ChatState.IDLE)


async def answered(pilot: Pilot[None], fakes: Fakes, reply: str) -> None:
    """The model says `reply`, and the screen has it."""
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    fakes.replies.emit(reply)
    fakes.replies.finish(generation(reply))
    await ready(pilot, screen)
    assert screen.conversation.view is not None
    assert screen.conversation.view.path[-1].content == reply


async def say(pilot: Pilot[None], fakes: Fakes, text: str, reply: str) -> None:
    pilot.app.screen.query_one(Prompt).text = text
    await pilot.press("enter")
    await answered(pilot, fakes, reply)


def kept(fakes: Fakes, *titles: str) -> list[int]:
    """Sessions in which something was said."""
    made = []
    for title in titles:
        messages = [
            (None, NewMessage("user", f"about {title}")),
            (0, NewMessage("assistant", f"{title} it is", model=gguf().name)),
        ]
        session = store(fakes).create(title=title, model=gguf().name, messages=messages)
        made.append(session.id)
    return made


async def listed(pilot: Pilot[None]) -> SessionList:
    """The list, with the keys' focus."""
    sessions = pilot.app.screen.query_one(SessionList)
    await pilot.press("ctrl+l")
    await until(pilot, lambda: bool(sessions.rows) and sessions.has_focus_within)
    return sessions


def titles(sessions: SessionList) -> list[str]:
    return [row.session.title for row in sessions.rows]


@asynchronous
async def test_what_is_said_is_kept_and_can_be_gone_on_with(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        first = await opened(pilot, fakes)
        await say(pilot, fakes, "the first thing", "the first reply")
        await pilot.press("ctrl+n")
        fakes.openings.finish(True)
        await ready(pilot, first)
        await until(pilot, lambda: "the first reply" not in screen_text(pilot.app))
        await pilot.press("escape")
        screen = await opened(pilot, fakes)
        await until(pilot, lambda: "goes on with “the first thing”" in screen_text(pilot.app))
        await listed(pilot)
        fakes.openings.finish(True)
        await pilot.press("enter")
        await ready(pilot, screen)
        await until(pilot, lambda: "the first reply" in screen_text(pilot.app))
        await say(pilot, fakes, "the second thing", "the second reply")
        assert [one.message_count for one in store(fakes).sessions()] == [4]


@asynchronous
async def test_the_list_finds_names_pins_archives_and_removes(fakes: Fakes) -> None:
    kept(fakes, "llamas", "alpacas", "camels")
    async with fakes.running((120, 30)) as pilot:
        await opened(pilot, fakes)
        sessions = await listed(pilot)
        await until(pilot, lambda: len(sessions.rows) == 3)
        await pilot.press("slash", *"alpaca")
        await until(pilot, lambda: titles(sessions) == ["alpacas"])
        await pilot.press("enter", "r")
        dialog = pilot.app.screen.query_one(Input)
        dialog.value = "vicuñas"
        await pilot.press("enter")
        search = sessions.query_one(Input)
        search.value = ""
        await until(pilot, lambda: "vicuñas" in titles(sessions) and len(sessions.rows) == 3)
        await pilot.press("end", "p")
        await until(pilot, lambda: sessions.rows[0].session.pinned)
        assert "★" in screen_text(pilot.app)
        await pilot.press("home", "a")
        await until(pilot, lambda: len(sessions.rows) == 2)
        await pilot.press("h")
        await until(pilot, lambda: sessions.rows[0].session.archived)
        await pilot.press("h")
        await until(pilot, lambda: len(sessions.rows) == 2)
        gone = sessions.rows[0].session
        await pilot.press("home", "d")
        await until(pilot, lambda: len(sessions.rows) == 1)
        assert "u brings it back" in screen_text(pilot.app)
        await pilot.press("u")
        await until(pilot, lambda: len(sessions.rows) == 2)
        back = next(one for one in store(fakes).sessions() if one.title == gone.title)
        assert (back.message_count, back.updated_at) == (2, gone.updated_at)


@asynchronous
async def test_a_session_is_exported(fakes: Fakes, tmp_path: Path) -> None:
    kept(fakes, "llamas")
    async with fakes.running() as pilot:
        await opened(pilot, fakes)
        await listed(pilot)
        await pilot.press("e")
        file = tmp_path / "out.md"
        pilot.app.screen.query_one(Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, file.exists)
        assert "llamas it is" in file.read_text(encoding="utf-8")


@asynchronous
async def test_another_reply_an_edit_and_the_way_between_them(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        screen = await opened(pilot, fakes)
        await say(pilot, fakes, "one", "first")
        await pilot.press("ctrl+r")
        await answered(pilot, fakes, "second")
        await until(pilot, lambda: "2 of 2" in screen_text(pilot.app))
        await pilot.press("tab", "left")
        await until(pilot, lambda: "first" in screen_text(pilot.app))
        await pilot.press("escape", "ctrl+right")
        await until(pilot, lambda: "second" in screen_text(pilot.app))
        await pilot.press("up")
        assert screen.query_one(Prompt).text == "one"
        await pilot.press("escape")
        assert screen.query_one(Prompt).text == ""
        await pilot.press("up", *" two", "enter")
        await answered(pilot, fakes, "third")
        assert [call[0] for call in fakes.replies.calls] == ["one", "one", "one two"]
        assert len(store(fakes).messages(1)) == 5


@asynchronous
async def test_messages_and_code_are_copied(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await opened(pilot, fakes)
        reply = "See:\n\n```python\nx = 1\n```\n\nand\n\n```\ny\n```\n"
        await say(pilot, fakes, "code", reply)
        await pilot.press("tab", "b")
        await until(pilot, lambda: pilot.app.clipboard == "x = 1")
        await pilot.press("b")
        await until(pilot, lambda: pilot.app.clipboard == "y")
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == reply)
        await pilot.press("up", "c")
        await until(pilot, lambda: pilot.app.clipboard == "code")


@asynchronous
async def test_files_go_along_and_say_what_they_cost(fakes: Fakes, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a" * 410, encoding="utf-8")
    async with fakes.running() as pilot:
        screen = await opened(pilot, fakes)
        for _ in range(2):
            await pilot.press("ctrl+o")
            pilot.app.screen.query_one(Input).value = str(tmp_path / "notes.txt")
            await pilot.press("enter")
            await until(pilot, lambda: pilot.app.screen is screen)
        await until(pilot, lambda: screen_text(pilot.app).count("notes.txt: 410 tokens") == 2)
        assert "20% of the context" in screen_text(pilot.app)
        await pilot.press("backspace")
        await until(pilot, lambda: "10% of the context" in screen_text(pilot.app))
        await say(pilot, fakes, "read", "done")
        await until(pilot, lambda: "▤ notes.txt: 410 tokens" in screen_text(pilot.app))
        await pilot.press("ctrl+o")
        pilot.app.screen.query_one(Input).value = "/nowhere"
        await pilot.press("enter")
        await until(pilot, lambda: "no such file" in screen_text(pilot.app))


@asynchronous
async def test_how_it_answers_is_the_sessions_own(fakes: Fakes) -> None:
    async with fakes.running((100, 30)) as pilot:
        screen = await opened(pilot, fakes)
        await say(pilot, fakes, "one", "first")
        await pilot.press("ctrl+g")
        dialog = pilot.app.screen
        assert isinstance(dialog, ChatSettingsDialog)
        await until(pilot, lambda: len(dialog.query_one("#preset", Select)._options) > 3)
        dialog.query_one("#value-temperature", Input).value = "9999999999"
        dialog.query_one("#system", TextArea).text = "Be brief."
        dialog.query_one("#on-full", Select).value = OnFull.SLIDE.value
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "temperature" in screen_text(pilot.app))
        dialog.query_one("#value-temperature", Input).value = "0.5"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: pilot.app.screen is screen)
        await until(pilot, lambda: store(fakes).session(1).preset.system == "Be brief.")
        preset = store(fakes).session(1).preset
        assert (preset.sampling["temperature"], preset.on_full) == (0.5, OnFull.SLIDE)


@asynchronous
async def test_what_another_program_says_appears(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        screen = await opened(pilot, fakes)
        await say(pilot, fakes, "one", "first")
        assert screen.conversation.view is not None
        leaf = screen.conversation.view.path[-1].id
        store(fakes).say(1, leaf, NewMessage("user", "from elsewhere"))
        await until(pilot, lambda: "from elsewhere" in screen_text(pilot.app))
        assert "another program has added 1" in screen_text(pilot.app)


@asynchronous
async def test_a_full_context_names_a_key_and_gives_the_text_back(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        screen = await opened(pilot, fakes)
        screen.query_one(Prompt).text = "x" * 5000
        await pilot.press("enter")
        await until(pilot, lambda: "^g:" in screen_text(pilot.app))
        assert screen.query_one(Prompt).text == "x" * 5000


@asynchronous
async def test_a_session_of_ten_thousand_messages_draws_only_what_is_seen(fakes: Fakes) -> None:
    messages = [
        (
            n - 1 if n else None,
            NewMessage("user" if n % 2 == 0 else "assistant", f"message {n}\n" * 9),
        )
        for n in range(10_000)
    ]
    session = store(fakes).create(title="long", model=gguf().name, messages=messages)
    async with fakes.running() as pilot:
        assert isinstance(pilot.app, LocalqApp)
        screen = ChatScreen(pilot.app.context, None, session.id)
        pilot.app.push_screen(screen)
        await until(pilot, lambda: "message 9999" in screen_text(pilot.app))
        assert screen.transcript.drawn < 30
        fakes.openings.finish(True)
        await ready(pilot, screen)
        await pilot.press("pageup", "pageup")
        assert "message 9999" not in screen_text(pilot.app)
        await pilot.press("tab", "home")
        await until(pilot, lambda: "message 0" in screen_text(pilot.app))
        await pilot.press("end")
        await until(pilot, lambda: "message 9999" in screen_text(pilot.app))
        assert screen.transcript.drawn < 60


@asynchronous
async def test_two_models_answer_the_same_in_turn(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path, [gguf(), gguf(quant=QuantType.F16)])
    async with fakes.running((120, 30)) as pilot:
        await opened(pilot, fakes)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(pilot.app.screen, ModelDialog))
        offered = pilot.app.screen.query_one(ChoiceList)
        await until(pilot, lambda: offered.option_count == 1)
        for _ in range(2):
            fakes.openings.finish(True)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        both = pilot.app.screen
        assert isinstance(both, CompareScreen)
        await until(pilot, lambda: all(c.status.state is ChatState.IDLE for c in both.both))
        await pilot.press(*"hi", "enter")
        for reply in ("one says", "two says"):
            fakes.replies.emit(reply)
            fakes.replies.finish(generation(reply))
        await until(pilot, lambda: "two says" in screen_text(pilot.app))
        assert "one says" in screen_text(pilot.app)
        assert fakes.replies.calls == [("hi",), ("hi",)]
        await until(pilot, lambda: not both.is_busy)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
