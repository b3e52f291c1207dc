"""A command as a whole process: wall time, and the memory that is its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Measured", "measure"]

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Measured:
    """`processor_seconds` are the process's and the system's for it, of all threads;
    `anonymous_bytes` is the peak without mapped files. 0 where the system does not tell."""

    seconds: float
    processor_seconds: float
    anonymous_bytes: int


def measure(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Measured:
    """Run the command to its end; CalledProcessError, with what it said, where it fails.

    Python may keep what it has compiled, as it does for everyone who installs a program.
    """
    parts = [str(part) for part in command]
    before = _children()
    began = time.perf_counter()
    process = subprocess.Popen(
        parts,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})},
    )
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while True:
        try:
            output, _ = process.communicate(timeout=_POLL_SECONDS)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, _anonymous(status))
    seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, parts, output)
    return Measured(seconds, _children() - before, peak)


def _children() -> float:
    """Processor time of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _anonymous(status: Path) -> int:
    try:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
