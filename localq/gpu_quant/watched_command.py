"""Commands of others, watched: their lines as they come, an end when the user or localq ends."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from localq.errors import Cancelled, LocalqError
from localq.messages import msg

__all__ = ["clean_environment", "run_watched"]

_POLL_SECONDS = 0.1
_MAX_LINE = 64 << 10
_LINES_WAITING = 10_000
_WATCHDOG = Path(__file__).with_name("watchdog.py")
# What would lead another Python astray, or pip to another place.
_LEAVE_OUT = frozenset(
    [
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
        *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIREMENT"),
        *("UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_TARGET", "UV_PREFIX", "CONDA_PREFIX"),
    ]
)


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment for another Python, with `extra`."""
    kept = {key: value for key, value in os.environ.items() if key not in _LEAVE_OUT}
    return {**kept, "PYTHONUTF8": "1", "NO_COLOR": "1", "PIP_USER": "0", **extra}


def run_watched(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    cancel: threading.Event,
    on_line: Callable[[str], None],
) -> int:
    """Run it and hand on each line of its output; its exit code.

    Cancelled, once it and all that it started are gone. LocalqError where it cannot be started.
    """
    if cancel.is_set():
        raise Cancelled
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", str(_WATCHDOG), *map(str, command)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            # A group of its own: Ctrl-C reaches localq alone, which ends the command.
            process_group=None if sys.platform == "win32" else 0,
        )
    except OSError as error:
        raise LocalqError(
            msg("{command}: cannot be started: {error}", command=command[0], error=error)
        ) from error
    lines: queue.Queue[str | None] = queue.Queue(_LINES_WAITING)
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        while True:
            if cancel.is_set():
                raise Cancelled
            try:
                line = lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                return process.wait()
            on_line(line)
    finally:
        assert process.stdin
        with suppress(OSError):
            process.stdin.close()  # the watchdog ends what is left
        while reader.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                lines.get(timeout=_POLL_SECONDS)
        process.wait()


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    assert process.stdout
    with process.stdout as stream, suppress(ValueError, OSError):
        while line := stream.readline(_MAX_LINE):
            lines.put(line.decode(errors="replace").rstrip())
    lines.put(None)
