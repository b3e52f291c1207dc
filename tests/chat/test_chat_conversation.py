"""Conversations: over a fake engine for their logic, over the real one for the rest."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from localq.chat_format.message import ChatMessage
from localq.chat_format.prompt import fit_chat, fit_text, join_text, room_for_reply
from localq.engine.client import Generation, SamplingParams
from localq.errors import BadFileError, Cancelled, EngineError, NotFoundError, UnsupportedError
from localq.events import JobEvent, Note, Started
from localq.formats.types import QuantType
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.paths import Paths
from localq.services.chat.conversation import Conversation
from localq.services.hosting.hosted import HostedModel
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.chat.fake_engine import FakeEngine, fake_chat_model
from tests.chat.test_chat_template import CHATML
from tests.engine.test_engine import DEMO, make_gguf, unheard

GREEDY = SamplingParams(max_tokens=20, temperature=0)


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


def test_how_much_is_thought() -> None:
    events: list[JobEvent] = []
    asked = [ChatMessage("user", "Hello")]
    template = "{{ reasoning_effort }}: " + CHATML
    for effort, begin in (("high", "high: "), ("none", "low: ")):  # as little as it can
        chat = fake_chat_model(FakeEngine([]), template=template, effort=effort, emit=events.append)
        assert chat.prompt(asked).text.startswith(begin)
    assert events == []
    for without in (CHATML, None):
        fake_chat_model(FakeEngine([]), template=without, effort="high", emit=events.append)
    texts = {event.text for event in events if isinstance(event, Note)}
    assert texts == {"this model cannot be told how much to think"}


class Talk:
    """A conversation with a fake engine, and what it emitted."""

    def __init__(
        self,
        replies: Sequence[str | Exception],
        *,
        template: str | None = CHATML,
        n_ctx: int = 1000,
        system: str | None = None,
        bos: str = "^",
    ) -> None:
        self.engine = FakeEngine(replies)
        self.events: list[JobEvent] = []
        chat = fake_chat_model(self.engine, template=template, n_ctx=n_ctx, bos=bos)
        self.conversation = Conversation(chat, emit=self.events.append, system=system)

    def say(self, text: str, cancel: bool = False, max_tokens: int = 20) -> Generation:
        event = threading.Event()
        if cancel:
            event.set()
        sampling = SamplingParams(max_tokens=max_tokens)
        return self.conversation.reply(text, sampling, cancel=event, on_text=unheard)

    @property
    def contents(self) -> list[str]:
        return [message.content for message in self.conversation.messages]

    @property
    def warnings(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Note) and e.warning]


def test_the_template_gets_the_whole_conversation() -> None:
    talk = Talk(["Hi.", "Bye."], system="Be brief.")
    assert talk.say("Hello").text == "Hi."
    talk.say("Goodbye")
    assert talk.engine.prompts[1] == (
        "^<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nGoodbye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert talk.contents == ["Be brief.", "Hello", "Hi.", "Goodbye", "Bye."]
    assert [message.role for message in talk.conversation.messages] == [
        *("system", "user", "assistant", "user", "assistant")
    ]
    assert talk.events == []


def test_bos_comes_once_whether_the_template_has_it_or_not() -> None:
    with_bos = Talk(["x"])
    with_bos.say("a")
    without = Talk(["x"], template=CHATML.replace("{{ bos_token }}", ""))
    without.say("a")
    assert with_bos.engine.prompts == without.engine.prompts
    nameless = Talk(["x"], bos="")
    nameless.say("a")
    assert nameless.engine.prompts == with_bos.engine.prompts


def test_the_oldest_messages_go_first_and_the_user_is_told() -> None:
    talk = Talk(["reply"] * 20, n_ctx=600, system="Be brief.")
    for number in range(12):
        talk.say(f"message {number}")
    for prompt in talk.engine.prompts:
        assert len(prompt) + 20 <= 600
        assert "Be brief." in prompt
    assert "message 0" not in talk.engine.prompts[-1]
    assert talk.engine.prompts[-1].count("message 11") == 1
    # Whole pairs went: what follows the system message is the user's.
    assert talk.conversation.messages[0].content == "Be brief."
    assert talk.conversation.messages[1].role == "user"
    assert talk.warnings
    assert "outgrew the context of 600 tokens: the oldest " in talk.warnings[0]
    # Half of the context is free again each time, so that not every reply has to cut.
    assert len(talk.warnings) <= 3


def test_a_message_too_long_by_itself_is_the_engines_to_refuse() -> None:
    refused = EngineError("too long")
    talk = Talk(["Hi.", refused, "Bye."], n_ctx=300)
    talk.say("Hello")
    with pytest.raises(EngineError, match="too long"):
        talk.say("x" * 500)
    assert talk.warnings == []
    assert talk.contents == ["Hello", "Hi."]
    talk.say("Goodbye")
    assert "Hello" in talk.engine.prompts[-1]


def test_a_cancelled_reply_stays_as_far_as_it_got() -> None:
    talk = Talk(["Hi.", "", "Bye."])
    assert talk.say("Hello", cancel=True).stop == "cancelled"
    assert talk.contents == ["Hello", "H"]
    talk.say("Again", cancel=True)  # nothing was said
    assert talk.contents == ["Hello", "H"]


def test_a_template_that_refuses_changes_nothing() -> None:
    picky = CHATML + "{% if messages | length > 1 %}{{ raise_exception('enough') }}{% endif %}"
    talk = Talk(["Hi."], template=picky)
    talk.say("Hello")
    with pytest.raises(UnsupportedError, match="enough"):
        talk.say("More")
    assert talk.contents == ["Hello", "Hi."]


def test_without_a_template_the_text_goes_on() -> None:
    talk = Talk([", a dog ran.", " It slept.", " End."], template=None)
    talk.say("Once")
    talk.say("The cat")
    talk.say("")
    assert talk.engine.prompts == [
        "^Once",
        "^Once, a dog ran. The cat",
        "^Once, a dog ran. The cat It slept.",
    ]
    assert talk.warnings == []


def test_without_a_template_the_end_of_the_text_is_kept() -> None:
    talk = Talk(["abcdefghij" * 3] * 24, template=None, n_ctx=400)
    for _ in range(24):
        talk.say("word")
    prompts = talk.engine.prompts
    whole = "^" + " ".join(["word" + "abcdefghij" * 3] * 24)
    for prompt in prompts:
        assert len(prompt) + 20 <= 400
        assert prompt.endswith("word")
        assert prompt[1:] in whole
    assert len(prompts[-1]) > 200
    # The text begins at the same place for several replies: what was read stays useful.
    assert sum(b.startswith(a) for a, b in pairwise(prompts[11:])) >= 6
    assert talk.warnings[0] == (
        "the conversation outgrew the context of 400 tokens:"
        " the first 100 tokens of the text were left out"
    )
    assert len(talk.warnings) < 8

    talk.engine.replies = [EngineError("too long")]
    with pytest.raises(EngineError):
        talk.say("x" * 450)
    assert "x" * 450 in talk.engine.prompts[-1]  # never a part of what was just written


def test_leaving_closes_the_engine() -> None:
    talk = Talk([])
    with talk.conversation as conversation:
        assert conversation.messages == ()
    assert talk.engine.closed


def messages(*roles: str) -> list[ChatMessage]:
    return [ChatMessage(role, role[0]) for role in roles]  # type: ignore[arg-type]


def test_fitting_a_chat_without_anything_to_leave_out() -> None:
    def tokenize(some: Sequence[ChatMessage]) -> list[int]:
        return [0] * (10 * len(some))

    for roles in (["user"], ["system", "user"], ["user", "user"]):
        fitted = fit_chat(messages(*roles), tokenize, n_ctx=5, room=1)
        assert (fitted.dropped, len(fitted.messages)) == (0, len(roles))
    roles = ["system", "user", "assistant", "user"]
    fitted = fit_chat(messages(*roles), tokenize, n_ctx=5, room=1)
    assert [m.role for m in fitted.messages] == ["system", "user"]
    assert len(fitted.tokens) == 20


def test_room_and_text() -> None:
    assert room_for_reply(4096, 512) == 512
    assert room_for_reply(400, 512) == 100
    assert room_for_reply(400, 0) == 1
    assert join_text([]) == ""
    spaced = [ChatMessage("user", "a "), ChatMessage("assistant", "b\n"), ChatMessage("user", "c")]
    assert join_text(spaced) == "a b\nc"
    assert fit_text([1, 2, 3], [1], 1, n_ctx=8, room=2).tokens == [1, 2, 3]
    assert fit_text([1, *range(20)], [1], 1, n_ctx=8, room=2).tokens == [1, *range(16, 20)]


def test_a_story_goes_on(home: Paths, story_gguf: Path) -> None:
    events: list[JobEvent] = []
    cancel = threading.Event()
    pieces: list[str] = []
    with (
        Library() as library,
        Conversation.open(library, str(story_gguf), emit=events.append) as conversation,
    ):
        assert conversation.loaded.n_ctx == 512
        assert conversation.model.path == story_gguf
        first = conversation.reply("Once upon a time", GREEDY, cancel=cancel, on_text=pieces.append)
        assert first.text == "".join(pieces)
        assert first.text.startswith(", there was a little")
        second = conversation.reply("Then", GREEDY, cancel=cancel, on_text=unheard)
        assert second.prompt_tokens > 25
        assert second.reused_tokens > 20  # the first turn was not read again
        assert len(conversation.messages) == 4
    assert events == [Started(f"loading {story_gguf}")]
    assert (home.log / "engine.log").is_file()
    assert not home.database.exists()


def test_a_model_of_the_library_becomes_the_one_used_last(home: Paths) -> None:
    library = Library()
    for type_ in (QuantType.Q8_0, QuantType.F16):
        quantize(library, QuantizeRequest(type_, model=str(DEMO)), unheard_event, threading.Event())
    with Conversation.open(library, "stories260K:q8_0") as conversation:
        name = conversation.model.name
        assert name.endswith(":Q8_0")
    last = library.last_used()
    assert last
    assert last.name == name
    with Conversation.open(library, None, n_ctx=1024) as conversation:
        assert conversation.model.name == name


def unheard_event(event: JobEvent) -> None:
    pass


def test_a_context_beyond_the_trained_one_is_noted(home: Paths, story_gguf: Path) -> None:
    events: list[JobEvent] = []
    with Conversation.open(Library(), str(story_gguf), emit=events.append, n_ctx=1024):
        pass
    [note] = [event for event in events if isinstance(event, Note)]
    assert note.warning
    assert "1,024 tokens is more than the 512" in note.text


def test_what_cannot_be_opened(home: Paths, tmp_path: Path, story_gguf: Path) -> None:
    library = Library()
    with pytest.raises(NotFoundError):
        Conversation.open(library, None)
    with pytest.raises(NotFoundError):
        Conversation.open(library, str(tmp_path / "missing.gguf"))
    text = tmp_path / "text.gguf"
    text.write_text("Once upon a time there was a file.")
    with pytest.raises(BadFileError, match="not a GGUF"):
        Conversation.open(library, str(text))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        Conversation.open(library, str(story_gguf), cancel=cancel)


def test_a_model_with_a_template(home: Paths, material: Path, tmp_path: Path) -> None:
    gguf = make_gguf(material / "models" / "tiny-wiki-llama", tmp_path, QuantType.F16)
    cancel = threading.Event()
    with Conversation.open(Library(), str(gguf), system="Facts only.") as conversation:
        first = conversation.reply("The river", GREEDY, cancel=cancel, on_text=unheard)
        assert first.text
        second = conversation.reply("The town", GREEDY, cancel=cancel, on_text=unheard)
        assert second.reused_tokens >= first.prompt_tokens - 1
        assert second.prompt_tokens > first.prompt_tokens


def _answers(library: Library, model: str | None, events: list[JobEvent]) -> bool:
    with Conversation.open(library, model, emit=events.append, n_ctx=128) as conversation:
        reply = conversation.reply("Once", GREEDY, cancel=threading.Event(), on_text=unheard)
    return reply.generated_tokens > 0


def _warnings(events: list[JobEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note) and event.warning]


@pytest.fixture
def story(library: Library, story_gguf: Path) -> Library:
    """A library with one model that can talk."""
    path = library.paths.models / "org" / "story" / "story-F32.gguf"
    path.parent.mkdir(parents=True)
    shutil.copy(story_gguf, path)
    source = ModelSource("org/story", None)
    size = path.stat().st_size
    model = Model("org/story:F32", ModelFormat.GGUF, "F32", "llama", 1, size, path, source, 1, 1)
    library.add(model, [path])
    return library


class TestItRuns:
    """What cannot be written down keeps no model from answering; it is said once."""

    def test_while_another_program_writes_to_the_database(self, story: Library) -> None:
        events: list[JobEvent] = []
        with closing(sqlite3.connect(story.paths.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert _answers(story, None, events)
        (warning,) = _warnings(events)
        assert "is writing to it, or another program" in warning

    def test_while_another_program_locks_the_database(
        self, story: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("localq.database.database._READ_SECONDS", 0.01)
        events: list[JobEvent] = []
        with closing(sqlite3.connect(story.paths.database, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            assert _answers(story, "story", events)
        assert len(_warnings(events)) == 1

    def test_on_a_full_disk(self, story: Library) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full, which is always full")
        story.paths.log.mkdir()
        (story.paths.log / "engine.log").symlink_to("/dev/full")
        events: list[JobEvent] = []
        assert _answers(story, None, events)
        (warning,) = _warnings(events)
        assert "engine.log: the disk is full" in warning

    def test_where_the_log_cannot_be_written(self, story: Library) -> None:
        story.paths.log.write_text("a file in place of the folder")
        events: list[JobEvent] = []
        assert _answers(story, None, events)
        assert len(_warnings(events)) == 1

    def test_a_file_without_its_library(self, home: Paths, story_gguf: Path) -> None:
        home.data.mkdir(parents=True)
        home.database.write_bytes(b"not a database" * 1000)
        events: list[JobEvent] = []
        assert _answers(Library(), str(story_gguf), events)
        (warning,) = _warnings(events)
        assert "damaged" in warning

    def test_without_a_folder_for_temporary_files(
        self, story: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        story.paths.log.write_text("a file in place of the folder")
        monkeypatch.setattr(tempfile, "mkstemp", _full)
        assert _answers(story, None, [])


def _full(**_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_another_template_than_the_models_own(
    home: Paths, material: Path, tmp_path: Path, story_gguf: Path
) -> None:
    with Conversation.open(Library(), str(story_gguf), template="chatml") as conversation:
        assert not conversation.continues_text
    gguf = make_gguf(material / "models" / "tiny-wiki-llama", tmp_path, QuantType.F16)
    with Conversation.open(Library(), str(gguf), template="none") as conversation:
        assert conversation.continues_text
    data = gguf.read_bytes()
    start = data.index(b"{%", data.index(b"tokenizer.chat_template"))
    gguf.write_bytes(data[:start] + b"{{" + data[start + 2 :])
    events: list[JobEvent] = []
    with Conversation.open(Library(), str(gguf), emit=events.append) as conversation:
        assert not conversation.continues_text
    (warning,) = _warnings(events)
    assert "does not work" in warning
    assert "is used instead" in warning
    with Conversation.open(Library(), str(gguf), template="chatml") as conversation:
        reply = conversation.reply("The river", GREEDY, cancel=threading.Event(), on_text=unheard)
        assert reply.text


def test_the_conversation_outlives_its_engine(story_gguf: Path) -> None:
    events: list[JobEvent] = []
    with Conversation.open(Library(), str(story_gguf), emit=events.append) as conversation:
        talk = partial(conversation.reply, sampling=GREEDY, cancel=threading.Event())
        first = talk("Once upon a time", on_text=unheard)
        said = conversation.messages
        hosted = conversation._chat.engine
        assert isinstance(hosted, HostedModel)
        life = hosted._seat.life
        assert life is not None

        def kill(_: str) -> None:
            assert life.engine.pid
            os.kill(life.engine.pid, signal.SIGKILL)

        with pytest.raises(EngineError, match="stopped unexpectedly"):
            talk(" there was", on_text=kill)
        assert conversation.messages == said
        again = talk(" there was", on_text=unheard)
        assert again.prompt_tokens > first.prompt_tokens + first.generated_tokens
        assert again.text
        assert any(isinstance(event, Note) and "loaded again" in event.text for event in events)
    with pytest.raises(EngineError, match="no model is loaded"):
        talk("Hello?", on_text=unheard)
