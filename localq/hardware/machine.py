"""Where probes read: the one interface between a machine and those who interpret what it says.

Every answer may be missing (None, or empty), and none is trusted: sizes are bounded here, what
they mean is for the probes to doubt. Tests replay recorded machines through the same interface.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from localq.hardware.macos_calls import read_sysctl
from localq.hardware.windows import WindowsAnswers

__all__ = ["LocalMachine", "Machine", "Output", "decimal"]

if sys.platform == "win32":
    _NO_WINDOW = subprocess.CREATE_NO_WINDOW
else:
    _NO_WINDOW = 0
_MAX_TEXT = 4 << 20
_MAX_NAMES = 1 << 14
_TIMEOUT_SECONDS = 3.0
"""For a command: nvidia-smi takes a second or two where no process keeps the driver awake."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed on stdout, and how it ended."""

    text: str
    code: int


class Machine(ABC):
    """A machine's answers. Paths are of its own filesystem, absolute, with forward slashes."""

    os: str
    """ "linux", "macos", "windows", or what Python calls the system."""
    release: str
    architecture: str

    @abstractmethod
    def text(self, path: str) -> str | None:
        """A small file, without white space around it; None where it cannot be read."""

    @abstractmethod
    def names(self, folder: str) -> tuple[str, ...]:
        """What a folder holds, sorted; nothing where it cannot be read."""

    @abstractmethod
    def run(self, command: Sequence[str]) -> Output | None:
        """Run a program that only reports; None where it is missing, too slow, or cannot start."""

    @abstractmethod
    def allowed_cpus(self) -> frozenset[int] | None:
        """The logical CPUs this process may run on."""

    @abstractmethod
    def sysctl(self, name: str) -> bytes | None:
        """macOS: the raw value of a sysctl name."""

    @abstractmethod
    def windows(self) -> WindowsAnswers:
        """Windows: what kernel32 and the registry say."""

    @abstractmethod
    def environment(self, name: str) -> str | None:
        """A variable of this process's environment."""

    def integer(self, path: str) -> int | None:
        """A file that holds one number, of at most 20 digits."""
        return decimal(self.text(path))


def decimal(text: str | None) -> int | None:
    """A number that is not negative, of at most 20 ASCII digits; None where `text` is none."""
    if text is None or len(text) > 20 or not (text.isascii() and text.isdecimal()):
        return None
    return int(text)


class LocalMachine(Machine):
    """This machine. `root` and `cpus` stand in for its filesystem and affinity, for tests."""

    def __init__(self, root: Path = Path("/"), cpus: frozenset[int] | None = None) -> None:
        self.os = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
        self.release = platform.release()
        self.architecture = platform.machine()
        self._root = root
        self._cpus = cpus
        self._windows: WindowsAnswers | None = None

    def text(self, path: str) -> str | None:
        try:
            with (self._root / path.lstrip("/")).open("rb") as file:
                return file.read(_MAX_TEXT).decode("utf-8", "replace").strip()
        except (OSError, ValueError):  # ValueError: a name with a NUL
            return None

    def names(self, folder: str) -> tuple[str, ...]:
        try:
            with os.scandir(self._root / folder.lstrip("/")) as entries:
                return tuple(sorted(entry.name for entry in islice(entries, _MAX_NAMES)))
        except (OSError, ValueError):
            return ()

    def run(self, command: Sequence[str]) -> Output | None:
        program = shutil.which(command[0])
        return _run([program, *command[1:]], _TIMEOUT_SECONDS) if program else None

    def allowed_cpus(self) -> frozenset[int] | None:
        if self._cpus is not None:
            return self._cpus
        if sys.platform == "linux":
            try:
                return frozenset(os.sched_getaffinity(0))
            except OSError:
                return None
        if sys.platform == "win32":
            return self.windows().allowed_cpus
        count = os.cpu_count()
        return frozenset(range(count)) if count else None

    def sysctl(self, name: str) -> bytes | None:
        return read_sysctl(name)

    def windows(self) -> WindowsAnswers:
        if self._windows is None:
            self._windows = WindowsAnswers()
            if sys.platform == "win32":
                from localq.hardware.windows_calls import ask

                self._windows = ask()
        return self._windows

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)


def _run(command: Sequence[str], timeout: float) -> Output | None:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            creationflags=_NO_WINDOW,
        )
    except (OSError, ValueError):
        return None
    assert process.stdout
    read: list[bytes] = []
    # A program stuck in a broken driver cannot even be killed: whoever waits must not hang too.
    reader = threading.Thread(target=_read, args=(process.stdout, read), daemon=True)
    reader.start()
    reader.join(timeout)
    try:
        code = process.wait(0 if reader.is_alive() else timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        code = None
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            return None
    reader.join(1)
    if code is None or not read:
        return None
    return Output(read[0].decode("utf-8", "replace").strip(), code)


def _read(stdout: BinaryIO, read: list[bytes]) -> None:
    with stdout:
        read.append(stdout.read(_MAX_TEXT))
