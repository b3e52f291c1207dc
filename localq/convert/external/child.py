"""A child process that can be watched line by line and stopped with all that it started."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from localq.errors import Cancelled, LocalqError, storage_errors
from localq.messages import msg

__all__ = ["Ended", "OnLine", "python_environment", "run_child"]

OnLine = Callable[[str], bool]
"""Hears each line; True for one that only says how far the work is, which no log needs."""

_POLL_SECONDS = 0.1  # how late a cancel may be noticed
_PATIENCE_SECONDS = 3.0
_MAX_LINE = 64 << 10
_LINES_WAITING = 1000
_LOG_LIMIT = 4 << 20
_BREAK = re.compile(rb"[\r\n]+")
_FAILURE = re.compile(r"(?:ERROR:(?:[\w.-]+:)?|[A-Za-z_][\w.]*(?:Error|Exception|Exit)\b).*")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended; `reason` is the last line with which it explained itself, or ""."""

    code: int
    reason: str

    def describe(self) -> str:
        """For an error message."""
        if self.code < 0:
            memory = "; often memory ran out" if self.code == -9 else ""
            return f"killed by signal {-self.code}{memory}"
        return self.reason or f"exit code {self.code}"


def python_environment(**changes: str) -> dict[str, str]:
    """The environment for another Python: without what points back into this one."""
    leave = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {key: value for key, value in os.environ.items() if key not in leave}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"} | changes


def run_child(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    cancel: threading.Event,
    on_line: OnLine,
) -> Ended:
    """Run `command` to its end; what it says goes to `on_line` and, but for progress, to `log`.

    Cancelled once `cancel` is set: the process and all of its group are dead then, as they are
    after any other exception. LocalqError where it cannot be started.
    """
    with _open_log(log) as log_file:
        log_file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {command}\n".encode())
        process = _start([str(part) for part in command], env, cwd)
        lines: queue.Queue[str | None] = queue.Queue(_LINES_WAITING)
        # A daemon: a stray grandchild that keeps the pipe open must not keep localq from ending.
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        last = failure = ""
        try:
            for line in _until_end(process, lines, cancel):
                if on_line(line):
                    continue
                log_file.write(line.encode() + b"\n")
                last = line
                if _FAILURE.fullmatch(line):
                    failure = line
            return Ended(process.wait(), _reason(failure or last))
        except BaseException:
            _stop(process, lines)
            raise


def _until_end(
    process: subprocess.Popen[bytes], lines: queue.Queue[str | None], cancel: threading.Event
) -> Iterator[str]:
    while True:
        if cancel.is_set():
            raise Cancelled
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if process.poll() is not None:
                return
            continue
        if line is None:
            return
        yield line


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    assert process.stdout
    with process.stdout as stream:
        for line in _split(stream):
            lines.put(line)
    lines.put(None)


def _split(stream: IO[bytes]) -> Iterator[str]:
    """Lines ended by either kind of break (a progress bar writes carriage returns)."""
    pending = b""
    while piece := os.read(stream.fileno(), _MAX_LINE):
        *whole, pending = _BREAK.split(pending + piece)
        if len(pending) > _MAX_LINE:
            whole.append(pending)
            pending = b""
        for line in whole:
            if text := line.decode("utf-8", "replace").rstrip():
                yield text
    if text := pending.decode("utf-8", "replace").rstrip():
        yield text


def _reason(line: str) -> str:
    return re.sub(r"^ERROR:\s*(?:[\w.-]+:)?", "", line).strip()[:500]


def _open_log(log: Path) -> BinaryIO:
    with storage_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))
        return log.open("ab", buffering=0)


def _start(command: list[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    # A process group of its own: Ctrl-C in the terminal reaches localq alone, and what the child
    # starts can be stopped with it.
    try:
        if sys.platform == "win32":
            return subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        return subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except OSError as error:
        raise LocalqError(
            msg(
                "{command}: cannot be started: {strerror}",
                command=command[0],
                strerror=error.strerror or error,
            )
        ) from error


def _stop(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    """End the process and its group, politely first, so that it may clear its own leftovers."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    _signal_group(process, force=False)
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(queue.Empty):  # or it would wait for someone to read what it says
            lines.get(timeout=_POLL_SECONDS)
    _signal_group(process, force=True)
    process.wait()
    with suppress(queue.Empty):
        while lines.get(timeout=_POLL_SECONDS) is not None:
            pass


if sys.platform == "win32":

    def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
        """Windows knows no polite way to end a process without a window."""
        if process.poll() is None:
            tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(tree, capture_output=True, check=False)

else:

    def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the whole group is gone already
            os.killpg(process.pid, signal.SIGKILL if force else signal.SIGINT)
