"""The chat screen."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot

from localq.errors import Cancelled, EngineError
from localq.events import Emit, Note, Started
from localq.services.chat.session_chat import SessionChat
from localq.sessions import SessionStore
from localq.tui.chat.handle import ChatHandle
from localq.tui.chat.status import ChatState
from localq.tui.screens.chat import ChatScreen
from localq.tui.widgets.prompt import Prompt
from tests.tui_support import (
    Fakes,
    Script,
    ScriptEngine,
    StoppedClock,
    asynchronous,
    generation,
    gguf,
    library,
    screen_text,
    scripted_model,
    until,
)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [gguf()])


def chat_screen(app: App[Any]) -> ChatScreen:
    assert isinstance(app.screen, ChatScreen)
    return app.screen


async def opened(pilot: Pilot[None], fakes: Fakes) -> ChatScreen:
    """The screen with its model loaded."""
    fakes.openings.finish(True)
    await pilot.press("enter")
    screen = chat_screen(pilot.app)
    await until(pilot, lambda: screen.status.state is ChatState.IDLE)
    return screen


async def asked(pilot: Pilot[None], fakes: Fakes) -> ChatScreen:
    """The screen with a question put to the model."""
    screen = await opened(pilot, fakes)
    await pilot.press(*"hi", "enter")
    assert screen.status.state is ChatState.GENERATING
    return screen


class TestLoading:
    @asynchronous
    async def test_never_blocks(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("enter")
            screen = chat_screen(pilot.app)
            assert screen.status.state is ChatState.LOADING
            fakes.openings.emit(Started("loading the [b]model[/b]"))
            await until(pilot, lambda: "loading the [b]model[/b]" in screen_text(pilot.app))
            await pilot.press(*"draft", "enter")
            assert screen.query_one(Prompt).text == "draft"
            assert "still being loaded" in screen_text(pilot.app)
            fakes.openings.finish(True)
            await until(pilot, lambda: screen.status.state is ChatState.IDLE)
            assert "0 / 4,096 tokens" in screen_text(pilot.app)
            await pilot.press("enter")
            assert screen.query_one(Prompt).text == ""
            await until(pilot, lambda: fakes.replies.calls == [("draft",)])
        assert fakes.openings.calls == [(gguf().name,)]

    @asynchronous
    async def test_failure_is_shown(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            fakes.openings.fail(EngineError("llama.cpp refused it", hint="see engine.log"))
            await pilot.press("enter")
            screen = chat_screen(pilot.app)
            await until(pilot, lambda: screen.status.state is ChatState.FAILED)
            text = screen_text(pilot.app)
            assert "llama.cpp refused it" in text
            assert "→ see engine.log" in text
            await pilot.press("escape")
            assert pilot.app.screen is library(pilot.app)

    @asynchronous
    async def test_leaving_stops_the_loading(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("enter")
            await until(pilot, lambda: bool(fakes.openings.calls))
            fakes.openings.wait_for_cancel_then(True)
            await pilot.press("escape")
            assert pilot.app.screen is library(pilot.app)
            await until(pilot, lambda: bool(fakes.chats))
            await until(pilot, fakes.chats[0].closed.is_set)

    @asynchronous
    async def test_quitting_stops_the_loading_and_closes(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await pilot.press("enter")
            await until(pilot, lambda: bool(fakes.openings.calls))
            fakes.openings.wait_for_cancel_then(True)
            await pilot.press("ctrl+q")
        assert fakes.chats[0].closed.is_set()


class TestReply:
    @asynchronous
    async def test_streams_as_text_and_ends_as_markdown(self, fakes: Fakes) -> None:
        clock = StoppedClock()
        async with fakes.running(clock=clock) as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.emit("**Two")
            await until(pilot, lambda: "**Two▍" in screen_text(pilot.app))
            clock.seconds = 0.5
            fakes.replies.emit(" lines**\n", "<b>here</b>")
            await until(pilot, lambda: "<b>here</b>▍" in screen_text(pilot.app))
            assert "6.0 tok/s" in screen_text(pilot.app)
            assert "3 / 4,096 tokens" in screen_text(pilot.app)
            fakes.replies.finish(generation("**Two lines**\n<b>here</b>"))
            await until(pilot, lambda: screen.status.state is ChatState.IDLE)
            text = screen_text(pilot.app)
            lines = [line.strip(" │") for line in text.splitlines()]
            assert lines[lines.index("Two lines") + 1] == "<b>here</b>"
            assert "▍" not in text
            assert "21.0 tok/s · 73 / 4,096 tokens" in text

    @asynchronous
    async def test_many_pieces_are_drawn_in_few_frames(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.emit(*["ab "] * 2000)
            fakes.replies.finish(generation("ab " * 2000))
            await until(pilot, lambda: screen.status.state is ChatState.IDLE)
            assert screen.transcript.frames < 200

    @asynchronous
    async def test_follows_the_end_until_one_scrolls_up(self, fakes: Fakes) -> None:
        text = "\n".join(f"line {number}" for number in range(100))
        async with fakes.running() as pilot:
            await asked(pilot, fakes)
            fakes.replies.emit(text)
            await until(pilot, lambda: "line 99▍" in screen_text(pilot.app))
            await pilot.press("pageup")
            await until(pilot, lambda: "line 99" not in screen_text(pilot.app))
            fakes.replies.emit("\nmore", " and more")
            fakes.replies.wait_for_cancel()
            await pilot.pause()
            assert "line 99" not in screen_text(pilot.app)
            await pilot.press("pagedown", "pagedown")
            await until(pilot, lambda: "more and more▍" in screen_text(pilot.app))

    @asynchronous
    async def test_escape_stops_the_reply_then_leaves(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.emit("Once upon")
            await until(pilot, lambda: "Once upon▍" in screen_text(pilot.app))
            await pilot.press("escape")
            assert screen.status.state is ChatState.STOPPING
            fakes.replies.wait_for_cancel_then(generation("Once upon", "cancelled"))
            await until(pilot, lambda: screen.status.state is ChatState.IDLE)
            await until(pilot, lambda: "stopped" in screen_text(pilot.app))
            assert "Once upon" in screen_text(pilot.app)
            await pilot.press("escape")
            assert pilot.app.screen is library(pilot.app)
            await until(pilot, fakes.chats[0].closed.is_set)

    @asynchronous
    async def test_leaving_in_the_middle_closes_afterwards(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await asked(pilot, fakes)
            await until(pilot, lambda: bool(fakes.replies.calls))
            await pilot.press("escape", "escape")
            assert pilot.app.screen is library(pilot.app)
            assert not fakes.chats[0].closed.is_set()
            fakes.replies.wait_for_cancel_then(generation("", "cancelled"))
            await until(pilot, fakes.chats[0].closed.is_set)

    @pytest.mark.parametrize(
        ("stop", "told"), [("length", "the longest reply"), ("context", "the context is full")]
    )
    @asynchronous
    async def test_says_why_it_was_cut_off(self, fakes: Fakes, stop: Any, told: str) -> None:
        async with fakes.running() as pilot:
            await asked(pilot, fakes)
            fakes.replies.emit("And then")
            fakes.replies.finish(generation("And then", stop))
            await until(pilot, lambda: told in screen_text(pilot.app))

    @asynchronous
    async def test_remarks_of_the_service_are_shown(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await asked(pilot, fakes)
            fakes.replies.emit(Note("the oldest messages were dropped", warning=True), "Yes")
            await until(pilot, lambda: "oldest messages were dropped" in screen_text(pilot.app))

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (EngineError("the engine died", hint="see the log"), "the engine died"),
            (KeyError("logits"), "KeyError: 'logits'"),
        ],
    )
    @asynchronous
    async def test_failure_is_shown_and_one_can_go_on(
        self, fakes: Fakes, error: Exception, told: str
    ) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.emit("So far")
            fakes.replies.fail(error)
            await until(pilot, lambda: told in screen_text(pilot.app))
            assert "So far" in screen_text(pilot.app)
            assert "cut off" in screen_text(pilot.app)
            assert screen.status.state is ChatState.IDLE
            await pilot.press(*"you", "enter")
            await until(pilot, lambda: fakes.replies.calls == [("hi",), ("you",)])

    @asynchronous
    async def test_what_got_no_reply_need_not_be_typed_again(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.fail(EngineError("the engine died"))
            await until(pilot, lambda: "the engine died" in screen_text(pilot.app))
            await until(pilot, lambda: screen.query_one(Prompt).text == "hi")
            await pilot.press(*" you", "enter")
            await until(pilot, lambda: fakes.replies.calls == [("hi",), ("hi you",)])
            fakes.replies.wait_for_cancel()
            await pilot.press("escape")
            await until(pilot, lambda: screen.query_one(Prompt).text == "hi you")

    @asynchronous
    async def test_a_reply_cannot_steer_the_terminal(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            fakes.replies.emit("\x1b]0;owned\x07[red]x\u202e[/red]")
            fakes.replies.finish(generation(""))
            await until(pilot, lambda: screen.status.state is ChatState.IDLE)
            await until(
                pilot, lambda: "\ufffd]0;owned\ufffd[red]x\ufffd[/red]" in screen_text(pilot.app)
            )


class TestPrompt:
    @asynchronous
    async def test_enter_sends_and_control_j_breaks_the_line(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            await opened(pilot, fakes)
            await pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "enter")
            await until(pilot, lambda: fakes.replies.calls == [("a\nb\nc",)])

    @asynchronous
    async def test_letters_typed_quickly_stay_in_order(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await opened(pilot, fakes)
            for key in ("a", "ctrl+j", "b", "c", "enter", "d", "enter", "e"):
                pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))
            await until(pilot, lambda: fakes.replies.calls == [("a\nbc",)])
            await until(pilot, lambda: screen.query_one(Prompt).text == "de")

    @asynchronous
    async def test_nothing_is_sent_while_a_reply_is_written(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await asked(pilot, fakes)
            await pilot.press(*"more", "enter")
            assert screen.query_one(Prompt).text == "more"
            await until(pilot, lambda: fakes.replies.calls == [("hi",)])

    @asynchronous
    async def test_blank_text_is_not_sent(self, fakes: Fakes) -> None:
        async with fakes.running() as pilot:
            screen = await opened(pilot, fakes)
            await pilot.press("space", "ctrl+j", "enter")
            assert screen.status.state is ChatState.IDLE
        assert fakes.replies.calls == []


class TestHandle:
    def test_closed_while_opening(self, tmp_path: Path) -> None:
        opening, go_on = threading.Event(), threading.Event()
        engines: list[ScriptEngine] = []

        def open_chat(
            model: str | None, session_id: int | None, emit: Emit, cancel: threading.Event
        ) -> SessionChat:
            opening.set()
            assert go_on.wait(60)
            engines.append(ScriptEngine(Script(), emit))
            store = SessionStore(Fakes(tmp_path).paths)
            return SessionChat(store, scripted_model("m", engines[0]))

        handle = ChatHandle(open_chat, tmp_path / "tui.log")
        errors: list[BaseException] = []

        def run() -> None:
            try:
                handle.open("m", None, lambda event: None, threading.Event())
            except Cancelled as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert opening.wait(60)
        handle.close()
        go_on.set()
        thread.join(60)
        assert engines[0].closed.is_set()
        assert len(errors) == 1
        with pytest.raises(Cancelled):
            handle.do(lambda chat: None)
