"""`localq logs`, and the app on a terminal that cannot show it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from localq.cli.main import cli
from localq.paths import Paths


def test_logs(home: Paths) -> None:
    run = CliRunner().invoke(cli, ["logs"])
    assert run.exit_code == 0
    assert "nothing was logged" in run.stderr
    log = home.log / "tui.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert CliRunner().invoke(cli, ["logs", "-n", "2"]).stdout == "two\nthree\n"
    assert CliRunner().invoke(cli, ["logs", "--path"]).stdout == f"{log}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_a_dumb_terminal_gets_a_line(home: Paths) -> None:
    import pty

    terminal, inner = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "localq"],
        stdin=inner,
        stdout=inner,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "dumb"},
        text=True,
    )
    os.close(terminal)
    os.close(inner)
    assert done.returncode == 2
    assert "TERM=dumb" in done.stderr
