"""`localq chat` and `localq run`: piped, and on a terminal with keys."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from localq.chat_format import limits
from localq.chat_format.reply import ContentText, ReasoningText
from localq.cli.chat_commands import COMMANDS, steps
from localq.cli.chat_input import TerminalInput, _completer, unquoted
from localq.cli.main import main
from localq.cli.quiet_keys import quiet_keys
from localq.cli.reply_display import MarkdownReply, settled_end
from localq.cli.talking import Talking
from localq.errors import EngineError, NotFoundError, UsageError
from localq.paths import Paths
from localq.services.chat.session_chat import SessionChat, SummaryMade
from localq.sessions import OnFull, Session, SessionStore
from tests.chat.fake_engine import FakeEngine, fake_chat_model
from tests.engine.test_engine import DEMO, make_gguf

Capture = pytest.CaptureFixture[str]
Reply = str | Exception | Callable[..., str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_gguf(DEMO, tmp_path_factory.mktemp("story")))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def pipe(text: str) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)

    return pipe


QUICK = ["--max-tokens", "6", "--temperature", "0"]


def test_a_chat_by_pipe(
    home: Paths, story: str, say: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    page = tmp_path / "story.html"
    say(f'Once upon\n/tokens\n/retry\n"""\nThe\nend\n"""\n/save A story\n/export {page}\n/quit\nx')
    assert main(["chat", story, *QUICK]) == 0
    said = capsys.readouterr()
    assert "of 512 tokens" in said.out
    assert "kept as session 1: A story" in said.err
    assert "<title>A story</title>" in page.read_text()
    session, tree = SessionStore(home).opened(1)
    assert [m.content for m in tree.path(session.leaf_id)][0::2] == ["Once upon", "The\nend"]
    assert len(tree) == 5
    say("And\n")
    assert main(["chat", "--session", "story", *QUICK, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["session"] == 1
    assert line["message"]["generated_tokens"] == 6
    assert line["message"]["parent_id"] > 5


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--last"], 1, "there is no session yet"),
        (["--session", "7"], 1, "no session '7'"),
        (["--last", "--session", "x"], 2, "at once"),
        (["--preset", "nobody"], 1, "no preset 'nobody'"),
        (["--file", "/nowhere"], 1, "/nowhere: no such file"),
        (["--grammar", "/nowhere"], 1, "/nowhere: no such file"),
        (["--temperature", "hot"], 2, "not a valid float"),
        (["--json-schema", "[]"], 2, "the JSON schema must be an object"),
        (["--json-schema", "null"], 2, "the JSON schema must be an object"),
        (["--json-schema", "{"], 2, "the JSON schema is no JSON"),
        (["--json-schema", "{}", "--grammar", "GRAMMAR"], 2, "at once"),
        (["--grammar", "GRAMMAR"], 2, "no rule named root"),
        (["--lora", "GRAMMAR:1e9"], 2, "the scale of an adapter is 1e+09"),
    ],
)
def test_what_cannot_be_begun(
    home: Paths,
    say: Callable[[str], None],
    capsys: Capture,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    problem: str,
) -> None:
    """Before a model is looked for, let alone loaded; by `localq run` too."""
    grammar = tmp_path / "a.gbnf"
    grammar.write_text("leaf ::= 'x'")
    arguments = [word.replace("GRAMMAR", str(grammar)) for word in arguments]
    verbs = ["chat"] if {"--last", "--session"} & {*arguments} else ["chat", "run"]
    for verb in verbs:
        say("hello\n")
        assert main([verb, "no-model", *arguments]) == code
        said = capsys.readouterr()
        assert problem in said.err
        assert said.out == ""
        assert said.err.count("\n") <= 2 or "Usage" in said.err


def test_an_adapter_is_looked_at_before_the_model_is_loaded(
    home: Paths, story: str, say: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    for name, problem in ((tmp_path / "gone.gguf", "no such adapter"), (story, "no LoRA adapter")):
        say("hello\n")
        assert main(["chat", story, "--lora", str(name)]) == 1
        said = capsys.readouterr().err
        assert problem in said
        assert "loading" not in said


def test_what_is_no_utf8_on_stdin(
    home: Paths, story: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for arguments, name in (
        (["run", story, "-p", "-"], "stdin (byte 1)"),
        (["run", story], "stdin (byte 1)"),
        (["run", story, "-p", "x", "--file", "-"], "stdin (byte 1)"),
        (["chat", story], "stdin, line 1 (byte 1)"),
    ):
        stdin = io.TextIOWrapper(
            io.BytesIO(b"a\xfcb\n"), encoding="utf-8", errors="surrogateescape"
        )
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert f"{name}: no text: only UTF-8" in said.err
        assert said.out == ""
    assert SessionStore(home).sessions() == []


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "0.2 s"),
        ("a\n{{ raise_exception('not today') }}", "(line 2)"),
        ("{{ 'x' * 10**10 }}", "(line 1)"),
        ("x" * 5_000_000, "too long for a chat template"),
    ],
    ids=["loops", "raises", "allocates", "5 MB"],
)
def test_a_hostile_template_is_one_clear_line(
    home: Paths,
    story: str,
    say: Callable[[str], None],
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    problem: str,
) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.2)
    path = tmp_path / "hostile.jinja"
    path.write_text(template)
    say("hello\n")
    assert main(["chat", story, "--template", str(path)]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert problem in line
    assert len(line) < 300
    assert "Traceback" not in said.err
    assert said.out == ""
    assert SessionStore(home).sessions() == []


def test_a_message_of_more_than_ten_megabytes(
    home: Paths, story: str, say: Callable[[str], None], capsys: Capture
) -> None:
    for arguments in (["chat", story], ["run", story], ["run", story, "-p", "x", "--file", "-"]):
        say("x" * 10_000_001)
        assert main(arguments) == 1
        assert "longer than the 10 MB" in capsys.readouterr().err
    assert SessionStore(home).sessions() == []


@pytest.mark.slow
def test_a_message_of_ten_megabytes(
    home: Paths, story: str, say: Callable[[str], None], capsys: Capture
) -> None:
    say("once upon " * 990_000)
    assert main(["chat", story]) == 1
    said = capsys.readouterr().err
    assert "has no room for a reply; nothing was sent" in said
    assert "Traceback" not in said
    assert SessionStore(home).sessions() == []


class TestRun:
    def test_stdin_is_read_where_it_is_asked_for(
        self, home: Paths, story: str, say: Callable[[str], None], capsys: Capture
    ) -> None:
        say("a log line")
        assert main(["run", story, "-p", "what failed?", "--file", "-", *QUICK]) == 0
        said = capsys.readouterr()
        assert "stdin: " in said.err
        assert "tokens of 512" in said.err
        assert said.out.strip()
        made = ["presets", "set", "short", "--set", "max_tokens=3", "--set", "temperature=0"]
        assert main(made) == 0
        capsys.readouterr()
        say("Once upon")
        assert main(["run", story, "--preset", "short", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["generated_tokens"] == 3
        say("x")
        assert main(["run", story, "-p", "-", "--file", "-"]) == 2
        assert "only once" in capsys.readouterr().err

    def test_a_schema_and_log_probabilities(
        self, home: Paths, story: str, capsys: Capture, tmp_path: Path
    ) -> None:
        schema = tmp_path / "schema.json"
        schema.write_text('{"type": "boolean"}')
        run = ["run", story, "-p", "x", "--json", "--seed", "1"]
        assert main([*run, "--json-schema", str(schema), "--logprobs", "2"]) == 0
        reply = json.loads(capsys.readouterr().out)
        assert reply["text"].strip() in ("true", "false")
        assert len(reply["logprobs"][0]["top"]) == 2
        grammar = tmp_path / "a.gbnf"
        grammar.write_text('root ::= "yes" | "no"')
        assert main(["run", story, "-p", "x", "--raw", "--grammar", str(grammar)]) == 0
        assert capsys.readouterr().out.strip() in ("yes", "no")
        assert main(["run", story, "-p", "x", "--logprobs", "2"]) == 2
        assert main(["run", story, "-p", "x", "--raw", "--system", "y"]) == 2
        assert main(["run", story, "-p", "x", "--json-schema", '{"type": 3}']) == 2

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"\xff\xfe", "only UTF-8"),
            (b"a\0b", "zero bytes"),
            (b" \n", "nothing in it"),
            (b"x" * 10_000_001, "longer than the 10 MB"),
        ],
    )
    def test_files_that_cannot_be_sent(
        self, home: Paths, tmp_path: Path, capsys: Capture, data: bytes, problem: str
    ) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(data)
        assert main(["run", "no-model", "-p", "x", "--file", str(path)]) in (1, 2)
        said = capsys.readouterr().err
        assert problem in said
        assert "a.txt" in said
        assert "Traceback" not in said


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


class Terminal:
    """A chat at a terminal whose keys are given."""

    def __init__(self, home: Paths, replies: list[Reply], *, n_ctx: int = 1000) -> None:
        self.home = home
        self.store = SessionStore(home)
        self.engine = FakeEngine(replies)
        self.opened: list[str | None] = []
        self.n_ctx = n_ctx
        self.talking = Talking(self._chat("m", None), home, self._chat, self._check, given={})

    def _check(self, model: str) -> None:
        if model == "typo":
            raise NotFoundError("no model typo")

    def _chat(self, model: str | None, session: Session | None) -> SessionChat:
        if model == "broken":
            raise EngineError("it does not load")
        self.opened.append(model)
        chat = fake_chat_model(self.engine, n_ctx=self.n_ctx)
        return SessionChat(self.store, chat, session=session)

    def run(self, keys: PipeInput, text: str) -> None:
        keys.send_text(text + "\x04")
        commands = {name: str(about) for name, about in COMMANDS.items()}
        talking = self.talking
        history = self.home.data / "chat_history"
        talking.run(TerminalInput(history, commands, talking.complete, talking.status))

    @property
    def path(self) -> list[str]:
        return [message.content for message in self.talking.chat.path]


def test_the_keys_of_a_chat(home: Paths, keys: PipeInput, capsys: Capture) -> None:
    terminal = Terminal(home, ["one", "two", "three", "four"])
    terminal.run(
        keys,
        "first\r"
        "/retry\r"
        "/prev\r/prev\r"
        "a\x0ab\r"  # two lines by Ctrl-J
        '"""\rc\rd"""\r'
        "/system Be brief.\r/full slide\r/save A title\r/bogus\r/tokens\r/help\r",
    )
    assert terminal.path == ["first", "one", "a\nb", "three", "c\nd", "four"]
    said = capsys.readouterr()
    assert "this is the first branch" in said.err
    assert "there is no /bogus" in said.err
    assert "kept as session 1: A title" in said.err
    assert "of 1,000 tokens" in said.out
    assert "/export" in said.out
    assert terminal.talking.chat.preset.on_full is OnFull.SLIDE
    assert terminal.talking.chat.preset.system == "Be brief."
    assert (home.data / "chat_history").stat().st_mode & 0o077 == 0


def test_edit_begins_with_what_was_said(home: Paths, keys: PipeInput) -> None:
    terminal = Terminal(home, ["one", "two", "three"])
    terminal.run(keys, "first\r/edit\r again\r/edit other\r/back\r")
    assert terminal.path == []
    tree = terminal.talking.chat.tree
    assert [tree[i].content for i in tree.children(None)] == ["first", "first again", "other"]


def test_errors_do_not_end_a_chat(home: Paths, keys: PipeInput, capsys: Capture) -> None:
    terminal = Terminal(home, [EngineError("it died"), "well"], n_ctx=400)
    terminal.run(keys, "first\r/model broken\r" + "x" * 400 + "\r/new\r/model other\rhello\r")
    said = capsys.readouterr().err
    assert "it died" in said
    assert "it does not load" in said
    assert "has no room for a reply" in said
    assert "/full slide or" in said
    assert "--on-full" not in said
    assert terminal.opened == ["m", "m", "other"]
    assert terminal.path == ["hello", "well"]


def test_a_typo_does_not_unload_the_model(home: Paths, keys: PipeInput, capsys: Capture) -> None:
    terminal = Terminal(home, ["one"])
    terminal.run(keys, "/model typo\rfirst\r")
    assert "no model typo" in capsys.readouterr().err
    assert terminal.opened == ["m"]
    assert terminal.path == ["first", "one"]


def test_another_session_needs_no_other_model(
    home: Paths, keys: PipeInput, capsys: Capture, tmp_path: Path
) -> None:
    page = tmp_path / "a.md"
    terminal = Terminal(home, ["one", "two"])
    terminal.run(keys, f"first\r/save A title\r/export {page}\r/export {page}\r/new\rsecond\r")
    said = capsys.readouterr().err
    assert "/export with another name" in said
    assert "--force" not in said
    assert terminal.opened == ["m"]
    assert not terminal.engine.closed
    assert [(s.title, s.message_count) for s in terminal.store.sessions()] == [
        ("second", 2),
        ("A title", 2),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hello", [("", "hello")]),
        ("/tokens", [("/tokens", "")]),
        (" /full  slide ", [("/full", "slide")]),
        ("/full slide\n\n/tokens\n/?", [("/full", "slide"), ("/tokens", ""), ("/help", "")]),
        ("/system Be\nbrief.\n/retry\nso", [("/system", "Be\nbrief."), ("/retry", ""), ("", "so")]),
        ("hello\n/retry", [("", "hello\n/retry")]),
        ("/usr/bin is a folder\n/etc too", [("", "/usr/bin is a folder\n/etc too")]),
        ("/edit\n def f():\n  pass", [("/edit", "def f():\n  pass")]),
        ("", [("", "")]),
    ],
)
def test_what_is_pasted_is_taken_line_by_line(text: str, parts: list[tuple[str, str]]) -> None:
    assert list(steps(text)) == parts


def test_a_command_that_is_none_ends_what_was_pasted() -> None:
    read = steps("/tokens\n/bogus\n/retry")
    assert next(read) == ("/tokens", "")
    with pytest.raises(UsageError, match="no /bogus"):
        next(read)


def test_commands_that_are_pasted(home: Paths, keys: PipeInput, capsys: Capture) -> None:
    terminal = Terminal(home, ["one"])
    terminal.run(keys, "\x1b[200~/full slide\n/system Be brief.\nhello\x1b[201~\r/tokens\rfirst\r")
    assert terminal.talking.chat.preset.on_full is OnFull.SLIDE
    assert terminal.talking.chat.preset.system == "Be brief.\nhello"
    assert terminal.path == ["first", "one"]


def test_a_file_that_is_too_large_goes_with_no_later_message(
    home: Paths, keys: PipeInput, capsys: Capture, tmp_path: Path
) -> None:
    large = tmp_path / "large.txt"
    large.write_text("x" * 400)
    terminal = Terminal(home, ["well"], n_ctx=400)
    terminal.run(keys, f"/file {large}\rfirst\rsecond\r/file\r/full\r")
    said = capsys.readouterr()
    assert "large.txt goes with no message any more" in said.err
    assert "no file is named" in said.err
    assert said.out.endswith("stop\n")
    assert terminal.path == ["second", "well"]


def test_the_other_program_is_seen(home: Paths, keys: PipeInput, capsys: Capture) -> None:
    terminal = Terminal(home, ["one", "three"])
    terminal.run(keys, "first\r")
    session = terminal.talking.chat.session
    assert session
    other = Terminal(home, ["two"])
    other.talking.chat = other._chat("m", session)
    other.run(keys, "second\r")
    assert "another program" in terminal.talking.status()
    terminal.run(keys, "\rthird\r")
    said = capsys.readouterr()
    assert "another program has said in this session" in said.err
    assert "two" in said.out
    assert terminal.path == ["first", "one", "second", "two", "third", "three"]


def test_what_follows_a_command_is_completed(home: Paths, tmp_path: Path) -> None:
    talking = Terminal(home, []).talking
    (tmp_path / "notes.md").touch()
    (tmp_path / "nested").mkdir()
    assert list(talking.complete("/file", f"{tmp_path}/n")) == [
        f"{tmp_path}/nested/",
        f"{tmp_path}/notes.md",
    ]
    assert list(talking.complete("/file", "/nowhere/x")) == []
    assert list(talking.complete("/preset", "pre")) == ["precise"]
    assert list(talking.complete("/full", "s")) == ["stop", "slide", "summarise"]
    assert list(talking.complete("/model", "")) == []


def test_commands_are_completed(home: Paths) -> None:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    completer = _completer({"/retry": "again", "/help": "all"}, lambda command, rest: [rest + "!"])

    def completed(text: str) -> list[str]:
        return [one.text for one in completer.get_completions(Document(text), CompleteEvent())]

    assert completed("/re") == ["/retry"]
    assert completed("/help me") == ["me!"]
    assert completed("re") == completed("/re\nx") == []


def shown(pieces: list[object]) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=60, height=12, color_system=None
    )
    display = MarkdownReply(console)
    for piece in pieces:
        display(piece)  # type: ignore[arg-type]
    display.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no termios")
def test_keys_are_not_shown_while_a_reply_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import pty
    import termios

    terminal, keyboard = pty.openpty()
    with os.fdopen(terminal, "rb"), os.fdopen(keyboard, "r") as stdin:

        def echoes() -> bool:
            return bool(termios.tcgetattr(stdin)[3] & termios.ECHO)

        monkeypatch.setattr(sys, "stdin", stdin)
        assert echoes()
        with suppress(KeyboardInterrupt), quiet_keys():
            assert not echoes()
            raise KeyboardInterrupt
        assert echoes()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with quiet_keys():
        pass


def test_markdown_as_it_grows() -> None:
    text = (
        "# Head\n\nSome **bold** text with <unk>.\n\n```python\na = 1\n\nb = 2\n```\n\n- x\n- y\n"
    )
    out = shown([ReasoningText("hm"), *[ContentText(c) for c in text], SummaryMade("s", 2)])
    assert "bold" in out
    assert "**" not in out
    assert "<unk>" in out
    assert "b = 2" in out
    assert "summary of the oldest 2 messages" in out
    assert "\x1b[31m" not in shown([ContentText("a\x1b[31mb")])


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("a\n", 0),
        ("a\n\n", 0),
        ("a\n\nb\n", 3),
        ("a\n\nb", 0),
        ("```\na\n\nb\n", 0),
        ("```\na\n\n```\n\nb\n", 12),
        ("````\n```\n\nx\n", 0),
        ("- a\n\n  b\n\nc\n", 10),
    ],
)
def test_where_a_block_ends(text: str, end: int) -> None:
    assert settled_end(text) == end


@pytest.mark.parametrize(
    ("text", "said"), [("a", "a"), ('"""a\nb"""', "a\nb"), ('"""\na\n"""', "a"), ('""" x', " x")]
)
def test_quotes_hold_lines_together(text: str, said: str) -> None:
    assert unquoted(text) == said
