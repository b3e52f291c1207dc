"""Programs may be started with standard input, output or error closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localq.paths import Paths

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close a stream")


def run(home: Paths, command: str) -> subprocess.CompletedProcess[bytes]:
    program = f"'{sys.executable}' -m localq {command}"
    environ = {**os.environ, "LOCALQ_HOME": str(home.data.parent)}
    return subprocess.run(["sh", "-c", program], env=environ, capture_output=True, check=False)


@pytest.mark.parametrize("verb", ["list", "list --json", "--version", "path"])
def test_a_result_that_nobody_can_get_is_one_line(home: Paths, verb: str) -> None:
    assert run(home, "pull demo").returncode == 0
    ended = run(home, f"{verb} >&-")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        b"error: the result cannot be written to standard output: Bad file descriptor"
    ]


def test_what_needs_no_output_is_done_all_the_same(home: Paths) -> None:
    assert run(home, "pull demo >&-").returncode == 1
    assert b"demo/stories260K" in run(home, "list").stdout
    assert run(home, "list <&- 2>&-").returncode == 0


def test_no_file_takes_the_place_of_a_closed_stream(home: Paths, tmp_path: Path) -> None:
    """What a child writes to standard output must not go into the library's database."""
    assert run(home, "pull demo <&- >&- 2>&-").returncode == 1
    files = [path for path in home.data.rglob("*.db*") if path.is_file()]
    assert files
    assert b"localq" not in files[0].read_bytes()[:6]
    assert run(home, "doctor").returncode == 0
