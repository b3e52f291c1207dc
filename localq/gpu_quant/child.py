"""A backend's script at work: a process that is watched, and ended with all that it started."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from localq.errors import Cancelled, LocalqError, StorageError, UnsupportedError, storage_errors
from localq.gpu_quant.events import ChildEvent, Done, Failed, read_event
from localq.messages import msg

__all__ = ["STALL_VARIABLE", "BackendCrashed", "run_script"]

_POLL_SECONDS = 0.1
STALL_VARIABLE = "LOCALQ_BACKEND_STALL_SECONDS"
_STALL_SECONDS = 3600.0
"""A layer of a very large model on a slow machine takes minutes; one that takes an hour hangs."""
_MAX_LINE = 16 << 20
_LINES_WAITING = 1000
_LEAVE_OUT = frozenset(
    ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"]
)


class BackendCrashed(LocalqError):
    """The backend's process ended without a word, stopped making progress, or talked nonsense."""


def run_script(
    python: Path,
    script: Path,
    request: Mapping[str, Any],
    *,
    scratch: Path,
    log: Path,
    cancel: threading.Event,
    on_event: Callable[[ChildEvent], None],
) -> Done:
    """Let `python` run `script` with the request, which is written to the folder `scratch`.

    What the libraries print goes to the end of `log`. Whatever this returns or raises, the process
    and its group are gone then. Cancelled; StorageError where a disk is full, UnsupportedError for
    an architecture it does not know, BackendCrashed, LocalqError.
    """
    with storage_errors(scratch, hint=msg("let LOCALQ_HOME name another folder")):
        told = scratch / "request.json"
        told.write_text(json.dumps(request), encoding="utf-8")
        log.parent.mkdir(parents=True, exist_ok=True)
        noise = log.open("ab")
    with noise:
        # -s: no packages of the user's own; the script's folder is the only other one.
        process = _start([str(python), "-s", str(script), str(told)], noise, scratch)
        lines: queue.Queue[bytes | None] = queue.Queue(_LINES_WAITING)
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        try:
            return _until_done(process, lines, log, cancel, on_event)
        finally:
            _end(process)


def _until_done(
    process: subprocess.Popen[bytes],
    lines: queue.Queue[bytes | None],
    log: Path,
    cancel: threading.Event,
    on_event: Callable[[ChildEvent], None],
) -> Done:
    stall_seconds = float(os.environ.get(STALL_VARIABLE, _STALL_SECONDS))
    heard = time.monotonic()
    while True:
        if cancel.is_set():
            raise Cancelled
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() - heard > stall_seconds:
                raise BackendCrashed(
                    msg(
                        "the backend made no progress for {minutes:.0f} minutes and was ended",
                        minutes=stall_seconds / 60,
                    ),
                    hint=msg("its log is {log}", log=log),
                ) from None
            continue
        if line is None:
            raise BackendCrashed(
                msg("the backend died: {how}", how=_how(process)),
                hint=msg("its log is {log}", log=log),
            )
        heard = time.monotonic()
        try:
            event = read_event(line)
        except ValueError as error:
            raise BackendCrashed(
                msg("the backend said what makes no sense: {error}", error=error),
                hint=msg("its log is {log}", log=log),
            ) from None
        if isinstance(event, Failed):
            raise _error(event, log)
        if isinstance(event, Done):
            return event
        on_event(event)


def _error(failed: Failed, log: Path) -> LocalqError:
    where = msg("its log is {log}", log=log)
    text = " ".join(failed.text.split())[:300]
    match failed.kind:
        case "memory":
            return LocalqError(
                msg("memory ran out while quantizing: {text}", text=text),
                hint=msg(
                    "fewer or shorter samples take less: --calib-samples 64 --calib-length 256"
                ),
            )
        case "disk":
            return StorageError(
                msg("the disk is full: {text}", text=text),
                hint=msg("free some space (localq trash empty), then run the same command again"),
            )
        case "architecture":
            return UnsupportedError(
                text, hint=msg("GGUF may know it: localq quantize q4_k_m; {where}", where=where)
            )
        case "import":
            return LocalqError(
                msg("the backend's environment is damaged: {text}", text=text),
                hint=msg("localq backend doctor"),
            )
    return LocalqError(msg("the backend failed: {text}", text=text), hint=where)


def _how(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(timeout=5)
        if code == -9:
            return msg("it was killed, often because memory ran out")
        return (
            msg("signal {signal}", signal=-code) if code < 0 else msg("exit code {code}", code=code)
        )
    return msg("it closed its output")


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert process.stdout
    with process.stdout as stream, suppress(ValueError, OSError):
        while line := stream.readline(_MAX_LINE):
            lines.put(line)
    lines.put(None)


def _start(command: list[str], noise: BinaryIO, cwd: Path) -> subprocess.Popen[bytes]:
    kept = {key: value for key, value in os.environ.items() if key not in _LEAVE_OUT}
    env = kept | {"PYTHONUTF8": "1", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # A group of its own: Ctrl-C reaches localq alone, and what it starts can be ended with it. Its
    # standard input stays open as long as localq lives: it ends itself when that closes.
    windows = sys.platform == "win32"
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        return subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            creationflags=flags if windows else 0,
            process_group=None if windows else 0,
        )
    except OSError as error:
        raise LocalqError(
            msg(
                "{command}: cannot be started: {reason}",
                command=command[0],
                reason=error.strerror or str(error),
            ),
            hint=msg("localq backend doctor"),
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """At once, with all of its group: nothing of what it writes is of use when it is not done."""
    if sys.platform == "win32":
        if process.poll() is None:
            tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(tree, capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(OSError):
        assert process.stdin
        process.stdin.close()
    process.wait()
