"""The real program in a real terminal (tmux): from nothing to a reply, and all found as left."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.library import Library
from localq.paths import Paths

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

_PATIENCE = 120.0


class Terminal:
    """A tmux of the test's own."""

    def __init__(self, folder: Path, home: Paths) -> None:
        self._socket = folder / "tmux"
        environment = {
            "LOCALQ_HOME": str(home.data.parent),
            "LOCALQ_LANG": "en",
            "HF_HUB_OFFLINE": "1",
            "PATH": os.environ["PATH"],
        }
        variables = (f"{name}={value}" for name, value in environment.items())
        self.python = shlex.join(["env", *variables, sys.executable])
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", "sh")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", os.devnull, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def start(self) -> None:
        self.press(f"{self.python} -m localq", "Enter")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def shown(self) -> str:
        return self._tmux("capture-pane", "-p")

    def until(self, text: str, *, gone: bool = False) -> None:
        deadline = time.monotonic() + _PATIENCE
        while (text in self.shown()) is gone:
            assert time.monotonic() < deadline, f"{text!r} in vain at\n{self.shown()}"
            time.sleep(0.1)  # another process's screen: there is no event to wait for

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path, home: Paths) -> Iterator[Terminal]:
    made = Terminal(tmp_path, home)
    yield made
    made.close()


def test_from_nothing_to_a_reply(terminal: Terminal, home: Paths) -> None:
    terminal.start()
    terminal.until("The demo")
    terminal.press("End", "Enter")
    terminal.until("stories260K:Q8_0 is ready")
    terminal.press("Enter")
    terminal.until("ready ")
    terminal.press("Once upon a time", "Enter")
    terminal.until("tok/s")
    terminal.press("C-c")
    terminal.until("ready ")
    terminal.press("Escape")
    terminal.until("2 models")
    terminal.press("3")
    terminal.until("✓ finished")
    terminal.press("C-q")
    terminal.until("✓ finished", gone=True)
    assert {model.name for model in Library(home).models()} == {
        "demo/stories260K",
        "demo/stories260K:Q8_0",
    }
    terminal.start()
    terminal.until("2 models")
    terminal.press("C-q")
    terminal.until("2 models", gone=True)


def test_a_mistake_gives_the_terminal_back(terminal: Terminal, home: Paths) -> None:
    imports = "from localq.tui.app import LocalqApp;from localq.tui.start import run;"
    code = f"{imports}LocalqApp.action_help = lambda self: 1 / 0;run()"
    terminal.press(f"{terminal.python} -c {shlex.quote(code)}", "Enter")
    terminal.until("The demo")
    terminal.press("?")
    terminal.until("a mistake of its own")
    assert "ZeroDivisionError" in terminal.shown()
    terminal.press("echo as $((40 + 2)) before", "Enter")
    terminal.until("as 42 before")
    assert "ZeroDivisionError" in (home.log / "tui.log").read_text(encoding="utf-8")


def test_a_terminal_that_goes_away_while_the_app_ends_leaves_no_process(home: Paths) -> None:
    """The system sends SIGCONT then, upon which Textual reads the terminal again; how far the app
    has come with its end when that arrives cannot be steered, so several moments are tried."""
    import pty

    environment = {**os.environ, "LOCALQ_HOME": str(home.data.parent), "TERM": "xterm"}
    for moment in range(8):
        child, terminal = pty.fork()
        if child == 0:  # pragma: no cover - another process
            os.execve(sys.executable, [sys.executable, "-m", "localq"], environment)
        try:
            seen = b""
            while b"Quit" not in seen:
                seen += os.read(terminal, 1 << 16)
            os.write(terminal, b"\x11")
            time.sleep(0.1 + 0.03 * moment)
            os.close(terminal)
            deadline = time.monotonic() + 30
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                assert time.monotonic() < deadline, "it is there still"
                time.sleep(0.05)
            child = 0
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
