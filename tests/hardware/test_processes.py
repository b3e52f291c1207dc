"""Processes are told apart by when they started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localq.hardware.machine import LocalMachine
from localq.hardware.processes import kill_process, parse_stat, process_start

STAT = "{pid} ({name}) {state} 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 4 0 {start} 9 10 11"


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_a_process_is_itself_as_long_as_it_runs() -> None:
    with sleeper() as process:
        start = process_start(process.pid)
        assert start is not None
        assert process_start(process.pid) == start
        assert not kill_process(process.pid, "another")
        assert not kill_process(process.pid, None)
        assert process.poll() is None
        assert kill_process(process.pid, start)
        assert process.wait(60) != 0
        assert process_start(process.pid) is None
        assert not kill_process(process.pid, start)
    assert process_start(os.getpid()) not in (None, start)


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_what_is_no_process(pid: int) -> None:
    assert process_start(pid) is None


def test_the_text_of_proc(tmp_path: Path) -> None:
    odd = STAT.format(pid=7, name="a) S 1 (b", state="S", start=4242)
    assert parse_stat(odd) == "4242"
    assert parse_stat(STAT.format(pid=7, name="a", state="Z", start=4242)) is None
    for nothing in (None, "", "7 (a", "7 (a) S 1 2"):
        assert parse_stat(nothing) is None
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/stat").write_text(odd)
    machine = LocalMachine(tmp_path)
    machine.os = "linux"
    assert process_start(7, machine) == "4242"
    assert process_start(8, machine) is None
