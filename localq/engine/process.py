"""The engine's process as its client sees it: started, spoken to, and ended."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from localq.engine.canary.verdict import engine_environment
from localq.engine.protocol import (
    MAX_LINE,
    Cancel,
    Load,
    Part,
    ProtocolError,
    Reply,
    Request,
    SaveStates,
    Shutdown,
    decode_reply,
    encode,
)
from localq.errors import Cancelled, EngineCrashed, EngineError, StorageError, storage_errors
from localq.messages import msg

__all__ = ["EngineProcess", "Gone"]

_POLL_SECONDS = 0.05  # how late a cancel, or Ctrl-C on Windows, may be noticed
_PATIENCE_SECONDS = 3.0  # for the engine to do what it does at once, unless the machine is stuck
_SAVING_SECONDS = 10.0
_LOG_LIMIT = 4 << 20
_SIGKILL = 9  # not in Windows' signal module
_NOWHERE = Path(os.devnull)


class Gone(Exception):
    """The process has ended, or says what nobody understands."""


class EngineProcess:
    """One engine process and its pipes."""

    def __init__(self, log: Path | None) -> None:
        self.log_problem: StorageError | None = None
        """Why the log is not where it should be."""
        try:
            self.log, log_file = _open_log(log)
        except StorageError as error:  # no reason not to answer
            self.log_problem, log = error, None
            self.log, log_file = _open_log(None)
        self._temporary = log is None and self.log != _NOWHERE
        with log_file:
            self._log_start = log_file.seek(0, os.SEEK_END)
            try:
                self.process = _start(log_file)
            except OSError as error:
                raise EngineError(
                    msg("the engine cannot be started: {error}", error=error)
                ) from error
        assert self.process.stdin
        self._requests = self.process.stdin
        self._request_lock = threading.Lock()
        self._next_id = 0
        self._inboxes: dict[int, queue.SimpleQueue[Reply | None]] = {}
        """Replies by the id of their request; None: there will be none any more."""
        self._gone = False
        self.is_closed = False
        """Whether somebody here ended it."""
        self._nonsense: str | None = None
        self._reader = threading.Thread(target=self._read, name="engine replies", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            while line := lines.readline(MAX_LINE):
                try:
                    id_, reply = decode_reply(line)
                except ProtocolError as error:
                    self._nonsense = str(error)
                    self.process.kill()
                    break
                self._deliver(id_, reply)
        with self._request_lock:
            self._gone = True
        self._deliver(None, None)

    def _deliver(self, id_: int | None, reply: Reply | None) -> None:
        """Hand a reply to whoever waits for it; without an id, to all."""
        inboxes = [self._inboxes.get(id_)] if id_ is not None else [*self._inboxes.values()]
        for inbox in inboxes:
            if inbox is not None:  # else a cancel's, or nobody waits any more
                inbox.put(reply)

    def _send(self, request: Request, inbox: queue.SimpleQueue[Reply | None] | None = None) -> int:
        with self._request_lock:
            if self._gone:
                raise Gone
            self._next_id += 1
            line = encode(self._next_id, request)
            if len(line) > MAX_LINE:
                raise EngineError(
                    msg("a request of {line:,} bytes is too long for the engine", line=len(line))
                )
            if inbox is not None:
                self._inboxes[self._next_id] = inbox
            try:
                self._requests.write(line)
                self._requests.flush()
            except (OSError, ValueError):  # ValueError: closed by close()
                self._inboxes.pop(self._next_id, None)
                raise Gone from None
            return self._next_id

    def ask(
        self,
        request: Request,
        cancel: threading.Event | None,
        on_part: Callable[[Part], None] | None,
    ) -> Reply:
        """Send a request and wait for its final reply. From any thread. Raises Gone."""
        inbox: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        id_ = self._send(request, inbox)
        try:
            return self._wait(id_, inbox, request, cancel, on_part)
        finally:
            self._inboxes.pop(id_, None)

    def _wait(
        self,
        id_: int,
        inbox: queue.SimpleQueue[Reply | None],
        request: Request,
        cancel: threading.Event | None,
        on_part: Callable[[Part], None] | None,
    ) -> Reply:
        cancelled = False
        try:
            while True:
                if cancel and cancel.is_set() and not cancelled:
                    if isinstance(request, Load):
                        raise Cancelled("stopped")
                    self._send(Cancel(id_))
                    cancelled = True
                reply = _receive(inbox, _POLL_SECONDS)
                if isinstance(reply, Part):
                    if on_part and not (cancel and cancel.is_set()):
                        on_part(reply)
                elif reply:
                    return reply
        except Gone:
            raise
        except BaseException:  # on_part failed, or Ctrl-C: the engine is to be idle again
            if not isinstance(request, Load):  # which nothing but the end of the process stops
                self._abandon(id_, inbox)
            raise

    def _abandon(self, id_: int, inbox: queue.SimpleQueue[Reply | None]) -> None:
        try:
            self._send(Cancel(id_))
            while reply := _receive(inbox, _PATIENCE_SECONDS):
                if not isinstance(reply, Part):
                    return
        except Gone:
            return
        if len(self._inboxes) == 1:  # nobody else would be hurt
            self.process.kill()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs and speaks."""
        return not self._gone and self.process.poll() is None

    def crash(self, doing: str) -> EngineCrashed:
        """The error for a process that ended by itself."""
        self._end()
        last_line = _last_line(self.log, self._log_start)
        ends = f"; it ends with: {last_line}" if last_line else ""
        if self._nonsense:
            return EngineCrashed(
                msg(
                    "the engine said something that is not its protocol while {doing}: {nonsense}",
                    doing=doing,
                    nonsense=self._nonsense,
                ),
                hint=msg("its log is {log}{ends}", log=self.log, ends=ends),
            )
        code = self.process.returncode
        memory = "often memory ran out; " if code == -_SIGKILL else ""
        return EngineCrashed(
            msg(
                "the engine stopped unexpectedly ({exit_reason}) while {doing}",
                exit_reason=_exit_reason(code),
                doing=doing,
            ),
            hint=msg("{memory}its log is {log}{ends}", memory=memory, log=self.log, ends=ends),
        )

    def close(self, *, save: bool = False) -> None:
        """End the process; `save` lets it keep what texts had in memory, unless it is at work."""
        self.is_closed = True
        with suppress(Gone, EngineError):
            if save and not self._inboxes:
                inbox: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
                id_ = self._send(SaveStates(), inbox)
                _receive(inbox, _SAVING_SECONDS)
                self._inboxes.pop(id_, None)
            self._send(Shutdown())
        self._end()
        if self._temporary:
            with suppress(OSError):
                self.log.unlink()

    def _end(self) -> None:
        """Wait for the process, ever less politely, and close what belongs to it."""
        with suppress(OSError):  # what could not be flushed is of no interest any more
            self._requests.close()
        for insist in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(_PATIENCE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                insist()
        self.process.wait()
        self._reader.join()


def _receive(inbox: queue.SimpleQueue[Reply | None], timeout: float) -> Reply | None:
    """The next reply, or None after `timeout` seconds without one. Raises Gone."""
    try:
        reply = inbox.get(timeout=timeout)
    except queue.Empty:
        return None
    if reply is None:
        raise Gone
    return reply


def _open_log(log: Path | None) -> tuple[Path, FileIO]:
    """The log, its first line written; None: a temporary one, or none where the disk has no room
    for that either."""
    if log is None:
        try:
            descriptor, name = tempfile.mkstemp(prefix="localq-engine-", suffix=".log")
        except OSError:
            return _NOWHERE, _NOWHERE.open("ab", buffering=0)
        return Path(name), os.fdopen(descriptor, "ab", buffering=0)
    with storage_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))
        file = log.open("ab", buffering=0)
        try:
            file.write(time.strftime("--- engine started %Y-%m-%d %H:%M:%S\n").encode())
        except OSError:
            file.close()
            raise
        return log, file


def _start(log: FileIO) -> subprocess.Popen[bytes]:
    # -P: the folder the user happens to be in must not lend the engine its modules.
    command = [sys.executable, "-P", "-m", "localq.engine.worker"]
    environ = engine_environment()
    if sys.platform == "win32":
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environ,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    # A process group of its own: Ctrl-C in the terminal reaches the client only.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environ,
        process_group=0,
    )


def _exit_reason(code: int) -> str:
    if code >= 0:
        return msg("exit code {code}", code=code)
    try:
        return msg("signal {value}, {name}", value=-code, name=signal.Signals(-code).name)
    except ValueError:
        return msg("signal {value}", value=-code)


def _last_line(log: Path, start: int) -> str:
    """The last line this process wrote to its log, or "" if it wrote none."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
