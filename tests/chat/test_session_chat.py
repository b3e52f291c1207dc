"""Talking in a session that is kept, over a fake engine and over the real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localq.chat_format.reply import ContentText
from localq.errors import Cancelled, EngineError, NotFoundError, UnsupportedError, UsageError
from localq.events import JobEvent, Note
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.chat.chat_model import ChatModel
from localq.services.chat.fitting import ContextFull
from localq.services.chat.session_chat import SessionChat, SummaryMade
from localq.sessions import (
    Attachment,
    MessageState,
    OnFull,
    Preset,
    SessionBusy,
    SessionMessage,
    SessionStore,
)
from tests.chat.fake_engine import FakeEngine, fake_chat_model
from tests.engine.test_engine import DEMO, make_gguf

Reply = str | Exception | Callable[..., str]


def unheard(event: object) -> None:
    pass


class Talk:
    """A session with a fake model, and what was told."""

    def __init__(
        self, home: Paths, replies: Sequence[Reply], *, n_ctx: int = 1000, **options: Any
    ) -> None:
        self.store = SessionStore(home)
        self.engine = FakeEngine(replies)
        self.events: list[JobEvent] = []
        self.heard: list[object] = []
        template = options.pop("template", None)
        chat = fake_chat_model(
            self.engine, n_ctx=n_ctx, **({"template": template} if template == "" else {})
        )
        self.chat = SessionChat(self.store, chat, emit=self.events.append, **options)
        self.cancel = threading.Event()

    def send(self, text: str, *attachments: Attachment, **given: object) -> SessionMessage:
        return self.chat.send(
            text, attachments, given=given, cancel=self.cancel, on_event=self.heard.append
        )

    def retry(self) -> SessionMessage:
        return self.chat.retry(cancel=self.cancel, on_event=self.heard.append)

    def edit(self, text: str, message_id: int | None = None) -> SessionMessage:
        return self.chat.edit(text, message_id, cancel=self.cancel, on_event=self.heard.append)

    @property
    def path(self) -> list[str]:
        return [message.content for message in self.chat.path]

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    def again(self, replies: Sequence[Reply] = (), *, n_ctx: int = 1000) -> Talk:
        """The same session in another program."""
        assert self.chat.session
        session = self.store.session(self.chat.session.id)
        other = Talk.__new__(Talk)
        other.store, other.engine = self.store, FakeEngine(replies)
        other.events, other.heard, other.cancel = [], [], threading.Event()
        chat = fake_chat_model(other.engine, n_ctx=n_ctx)
        other.chat = SessionChat(self.store, chat, session=session, emit=other.events.append)
        return other


def test_a_conversation_is_kept_as_it_goes(home: Paths) -> None:
    talk = Talk(home, ["Hi.", "Bye."], preset=Preset("p", "Be brief.", {"temperature": 0.3}))
    assert talk.chat.session is None
    assert not home.data.exists()
    reply = talk.send("Hello")
    assert (reply.content, reply.state, reply.stop) == ("Hi.", MessageState.WHOLE, "eos")
    assert reply.model == "m"
    assert reply.tokens_per_second == 6
    talk.send("Goodbye", temperature=0.9)
    assert talk.heard == [ContentText("Hi."), ContentText("Bye.")]
    assert "system\nBe brief." in talk.engine.prompts[1]
    assert "Hello<|im_end|>\n<|im_start|>assistant\nHi." in talk.engine.prompts[1]
    assert [s.temperature for s in talk.engine.sampling] == [0.3, 0.9]
    assert talk.engine.sampling[0].max_tokens == 1000 - len(talk.engine.prompts[0])
    again = talk.again(["Again."])
    assert again.path == ["Hello", "Hi.", "Goodbye", "Bye."]
    assert again.chat.preset.system == "Be brief."
    again.send("More")
    assert again.engine.prompts[0].startswith(talk.engine.prompts[1])


def test_retry_edit_back_and_the_walk_between(home: Paths) -> None:
    talk = Talk(home, ["one", "two", "three", "four"])
    talk.send("Count")
    talk.retry()
    assert talk.path == ["Count", "two"]
    assert talk.engine.prompts[0] == talk.engine.prompts[1]
    assert talk.chat.beside(-1)
    assert talk.path == ["Count", "one"]
    assert not talk.chat.beside(-1)
    talk.send("Go on")
    talk.edit("Go on, please")
    assert talk.path == ["Count", "one", "Go on, please", "four"]
    assert talk.chat.back() == "Go on, please"
    assert talk.path == ["Count", "one"]
    assert talk.again().path == ["Count", "one"]
    first = talk.chat.path[0]
    talk.chat.turn_to(first.id)
    assert talk.path[-1] == "four"
    with pytest.raises(NotFoundError):
        talk.chat.turn_to(999)
    assert len(talk.chat.tree) == 7


def test_every_branch_is_reached_from_every_other(home: Paths) -> None:
    """Also those of an edit further up, and from where one has gone back to."""
    talk = Talk(home, ["1", "2", "3", "4", "5"])
    talk.send("a")
    talk.retry()
    talk.send("b")
    talk.edit("A", talk.chat.path[0].id)
    walked = [talk.path]
    while talk.chat.beside(-1):
        walked.append(talk.path)
    assert walked == [["A", "4"], ["a", "2", "b", "3"], ["a", "1"]]
    while talk.chat.beside(1):
        assert talk.path in walked
    assert talk.path == ["A", "4"]
    assert talk.again().path == ["A", "4"]
    talk.chat.back()
    assert talk.path == []
    for nothing in (talk.retry, lambda: talk.edit("x"), talk.chat.back):
        with pytest.raises(UsageError, match="at its beginning"):
            nothing()
    assert talk.chat.beside(-1)
    assert talk.path == ["A", "4"]


def test_nothing_was_said(home: Paths) -> None:
    talk = Talk(home, [EngineError("no"), "Hi.", EngineError("no")])
    for bad in (lambda: talk.send(" "), talk.retry, talk.chat.back):
        with pytest.raises(UsageError):
            bad()
    with pytest.raises(EngineError):
        talk.send("Hello")
    assert talk.store.sessions() == []
    assert talk.store.search("hello") == []
    assert talk.chat.session is None
    talk.send("Hello")
    with pytest.raises(EngineError):
        talk.send("More")
    assert talk.path == ["Hello", "Hi."]
    assert talk.again().path == ["Hello", "Hi."]


def test_what_there_is_of_a_reply_stays(home: Paths) -> None:
    def dies(on_text: Callable[[str], None]) -> str:
        on_text("Half of")
        raise EngineError("died")

    def stopped(on_text: Callable[[str], None]) -> str:
        on_text("And half")
        talk.cancel.set()
        return "And half"

    talk = Talk(home, [dies, stopped, ""])
    with pytest.raises(EngineError):
        talk.send("Tell")
    assert talk.path == ["Tell", "Half of"]
    assert talk.chat.path[-1].state is MessageState.INTERRUPTED
    reply = talk.send("Go on")
    assert (reply.content, reply.stop, reply.state) == ("And half", "cancelled", MessageState.WHOLE)
    with pytest.raises(Cancelled):
        talk.send("Nothing")
    assert talk.path[-1] == "And half"


def test_a_reply_is_in_the_store_while_it_grows(home: Paths) -> None:
    """The first piece at once, the following ones soon, also where no more come."""

    def grows(on_text: Callable[[str], None]) -> str:
        for text in ("Once", "Once upon"):
            on_text(text[len(seen[-1]) :] if seen else text)
            until = threading.Event()
            for _ in range(400):
                assert talk.chat.session
                tree = talk.store.messages(talk.chat.session.id)
                newest = tree[tree.newest_leaf() or 0]
                if newest.content == text:
                    break
                until.wait(0.02)
            seen.append(newest.content)
            states.append(newest.state)
        assert talk.chat.session
        assert talk.store.is_busy(talk.chat.session.id)
        return "Once upon"

    seen: list[str] = []
    states: list[MessageState] = []
    talk = Talk(home, [grows])
    talk.send("Tell")
    assert seen == ["Once", "Once upon"]
    assert states == [MessageState.GROWING] * 2


def test_attachments_and_what_they_take(home: Paths) -> None:
    talk = Talk(home, ["It prints."])
    attached = talk.chat.attach([Attachment("a.py", "print(1)")])
    assert attached[0].tokens == 8
    talk.send("What does it do?", *attached)
    assert "a.py:\n```python\nprint(1)\n```\n\nWhat does it do?" in talk.engine.prompts[0]
    assert talk.chat.path[0].attachments == attached
    assert talk.chat.path[0].content == "What does it do?"


class TestTwoPrograms:
    def test_each_sees_what_the_other_says(self, home: Paths) -> None:
        one = Talk(home, ["1", "3"])
        one.send("first")
        other = one.again(["2"])
        assert other.chat.refresh() == ()
        other.send("second")
        news = one.chat.refresh()
        assert [message.content for message in news] == ["second", "2"]
        assert one.path == ["first", "1", "second", "2"]
        one.send("third")
        assert "second" in one.engine.prompts[-1]

    def test_who_did_not_look_is_told(self, home: Paths) -> None:
        one = Talk(home, ["1", "3"])
        one.send("first")
        one.again(["2"]).send("second")
        one.send("third")
        assert one.path == ["first", "1", "second", "2", "third", "3"]
        assert any("another program has added 2 messages" in note for note in one.notes)

    def test_only_one_replies_at_a_time(self, home: Paths) -> None:
        one = Talk(home, ["1"])
        one.send("first")
        other = one.again(["never"])
        assert one.chat.session
        with one.store.writing(one.chat.session.id), pytest.raises(SessionBusy):
            other.send("second")
        assert other.path == ["first", "1"]

    def test_a_session_that_is_removed_meanwhile(self, home: Paths) -> None:
        def removes(on_text: Callable[[str], None]) -> str:
            on_text("a")
            talk.store.take_back(1, [m.id for m in talk.store.messages(1)], None)
            on_text("b")
            talk.cancel.wait(20)
            return "ab"

        talk = Talk(home, [removes])
        with pytest.raises(NotFoundError, match="removed"):
            talk.send("Tell")
        assert talk.cancel.is_set()


def turns(talk: Talk, count: int) -> None:
    for number in range(count):
        talk.send(f"message {number} " + "x" * 40)


class TestFull:
    def test_nothing_is_left_out_by_itself(self, home: Paths) -> None:
        talk = Talk(home, ["reply " + "y" * 60] * 9, n_ctx=600)
        with pytest.raises(ContextFull, match="nothing was sent") as caught:
            turns(talk, 9)
        assert "--on-full slide" in str(caught.value.hint)
        assert "message 0" in talk.engine.prompts[-1]
        before = talk.path
        assert talk.again().path == before
        meter = talk.chat.meter()
        assert (meter.n_ctx, meter.left_out) == (600, 0)
        assert 300 < meter.used <= 600
        with pytest.raises(ContextFull):
            talk.edit("z" * 700, talk.chat.path[0].id)

    def test_slide_keeps_the_system_prompt_and_the_last_turns(self, home: Paths) -> None:
        preset = Preset("p", "Be brief.", on_full=OnFull.SLIDE)
        talk = Talk(home, ["reply " + "y" * 40] * 12, n_ctx=700, preset=preset)
        turns(talk, 12)
        assert len(talk.path) == 24
        for prompt in talk.engine.prompts:
            assert len(prompt) < 700
            assert "Be brief." in prompt
        assert "message 0" not in talk.engine.prompts[-1]
        assert "message 11" in talk.engine.prompts[-1]
        last = talk.chat.path[-1]
        assert last.left_out_id is not None
        assert talk.chat.meter().left_out > 0
        assert any("left out" in note for note in talk.notes)
        # A cut stays where it is for some turns: what was read is of use.
        kept = [prompt[:120] for prompt in talk.engine.prompts]
        assert len(set(kept)) <= 7

    def test_a_summary_takes_the_place_of_what_is_old(self, home: Paths) -> None:
        preset = Preset("p", "Be brief.", on_full=OnFull.SUMMARISE)
        replies: list[Reply] = ["reply " + "y" * 40] * 4
        replies += ["They counted messages.", "reply", "reply"]
        talk = Talk(home, replies, n_ctx=900, preset=preset)
        turns(talk, 6)
        (made,) = [event for event in talk.heard if isinstance(event, SummaryMade)]
        assert made.text == "They counted messages."
        asked, prompt = talk.engine.prompts[4:6]
        assert "User: message 0" in asked
        assert "Write a summary" in asked
        assert "They counted messages." in prompt
        assert "message 0" not in prompt
        assert "Be brief." in prompt
        roles = [message.role for message in talk.chat.path]
        assert roles.count("summary") == 1
        assert talk.chat.meter().left_out == made.count
        assert (
            "They counted messages." in talk.again(["x"]).chat.path[roles.index("summary")].content
        )
        assert any("summarising the oldest" in note for note in talk.notes)

    def test_a_text_model_cannot_summarise(self, home: Paths) -> None:
        preset = Preset("p", on_full=OnFull.SUMMARISE)
        talk = Talk(home, [" and so on" * 8] * 9, n_ctx=500, preset=preset, template="")
        with pytest.raises(UnsupportedError, match="only continues text"):
            turns(talk, 9)

    @pytest.mark.parametrize("on_full", OnFull)
    def test_one_message_that_is_too_much(self, home: Paths, on_full: OnFull) -> None:
        talk = Talk(home, ["never"], n_ctx=300, preset=Preset("p", on_full=on_full))
        with pytest.raises(ContextFull):
            talk.send("x" * 10_000)
        assert talk.store.sessions() == []


def test_halves_of_characters_are_no_trouble(home: Paths) -> None:
    talk = Talk(home, ["ok"])
    talk.send("a\ud800")
    assert talk.path[0] == "a\N{REPLACEMENT CHARACTER}"


def test_a_preset_that_makes_no_sense(home: Paths) -> None:
    talk = Talk(home, ["ok"])
    with pytest.raises(UsageError, match="no setting"):
        talk.chat.set_preset(Preset("p", sampling={"warmth": 1}))
    talk.chat.set_preset(Preset("q", "Be brief."))
    talk.send("Hello")
    talk.chat.set_preset(replace(talk.chat.preset, system="Be long."))
    assert talk.again().chat.preset.system == "Be long."
    talk.chat.rename("A title")
    assert talk.again().chat.session.title == "A title"  # type: ignore[union-attr]


def test_a_session_reopened_is_not_read_again(home: Paths, tmp_path: Path) -> None:
    gguf = make_gguf(DEMO, tmp_path, QuantType.F32)
    library = Library(home)
    cancel = threading.Event()
    preset = Preset("p", sampling={"temperature": 0, "max_tokens": 30})
    said = "Once upon a time there was a little girl. " * 14
    with SessionChat.open(library, str(gguf), preset=preset) as chat:
        first = chat.send(said, cancel=cancel, on_event=unheard)
        assert chat.session
        session = chat.session
    assert session.model == str(gguf)
    assert session.model_hash
    events: list[JobEvent] = []
    with SessionChat.open(library, session=session, emit=events.append) as chat:
        second = chat.send("Then she", cancel=cancel, on_event=unheard)
    assert first.prompt_tokens is not None
    assert second.reused_tokens is not None
    assert second.reused_tokens >= first.prompt_tokens - 1
    assert not [event for event in events if isinstance(event, Note) and event.warning]
    gguf.write_bytes(gguf.read_bytes() + b"\0")
    with SessionChat.open(library, session=session, emit=events.append) as chat:
        assert isinstance(chat.chat, ChatModel)
    assert any(isinstance(e, Note) and "another file" in e.text for e in events)
