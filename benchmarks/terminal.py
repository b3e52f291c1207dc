"""A program in a terminal of its own, as a user starts it: what it draws, and when."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Terminal"]

_PATIENCE = 120.0
_ESCAPE = re.compile(rb"\x1b\[[0-9;?<>=$]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    """Runs a command until it is left; `home` is its LOCALQ_HOME."""

    def __init__(
        self,
        command: Sequence[str],
        home: Path,
        size: tuple[int, int] = (120, 40),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        variables = {
            **os.environ,
            "LOCALQ_HOME": str(home),
            "LOCALQ_LANG": "en",
            "HF_HUB_OFFLINE": "1",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONDONTWRITEBYTECODE": "",  # as for everyone who installs a program
            **(environment or {}),
        }
        self._began = time.perf_counter()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            width, height = size
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            os.execvpe(command[0], list(command), variables)
        self.drawn = b""
        """What came from the program, without its control sequences."""

    def until(self, shown: str, patience: float = _PATIENCE) -> float:
        """Seconds from the start until `shown` was drawn, which is forgotten then."""
        deadline = time.perf_counter() + patience
        wanted = shown.encode()
        while wanted not in self.drawn:
            if time.perf_counter() > deadline or not self._read(0.5):
                said = self.drawn[-500:].decode("utf-8", "replace")
                raise TimeoutError(f"{shown!r} was not drawn; {said!r}")
        seconds = time.perf_counter() - self._began
        self.drawn = self.drawn.rpartition(wanted)[2]
        return seconds

    def rest(self, seconds: float) -> None:
        """Let it run for a while, and take what it draws."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def processor_seconds(self) -> float:
        """Of all its threads, so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read(self, patience: float) -> bool:
        """Whether the program still runs."""
        ready, _, _ = select.select([self._terminal], [], [], patience)
        if not ready:
            return True
        try:
            found = os.read(self._terminal, 1 << 16)
        except OSError:  # it has ended
            return False
        self.drawn += _ESCAPE.sub(b"", found)
        return bool(found)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)
