"""The app on a real terminal, ended from outside: the terminal is as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from localq.paths import Paths

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX's", allow_module_level=True)

import pty
import termios

ALTERNATE_SCREEN, MOUSE = b"\x1b[?1049", b"\x1b[?1000"


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back(kind: signal.Signals, home: Paths) -> None:
    terminal, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    said = b""
    process = subprocess.Popen(
        [sys.executable, "-m", "localq"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )

    def read_until(enough: Callable[[bytes], bool]) -> None:
        nonlocal said
        while not enough(said):
            said += os.read(terminal, 65536)

    try:
        # The library's first words come when the app runs; its signals are heard by then.
        read_until(lambda text: ALTERNATE_SCREEN + b"h" in text and b"Quit" in text)
        process.send_signal(kind)
        read_until(lambda text: ALTERNATE_SCREEN + b"l" in text)
        assert process.wait(60) == 128 + kind
        assert MOUSE + b"h" in said
        assert said.rindex(MOUSE + b"l") > said.rindex(MOUSE + b"h")
        assert termios.tcgetattr(inner) == before
        assert b"Traceback" not in said
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(inner)
