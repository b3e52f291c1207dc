"""Measures how long the app's own loop is held up; turned on with LOCALQ_WATCHDOG=MILLISECONDS.

A call every few milliseconds says how late it came. Where it is later than the given time, a thread
that is not held up writes into the log what the loop was doing; at the end, the log says how late
the calls came in all.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

__all__ = ["Watchdog", "watchdog_of"]

_BEAT_SECONDS = 0.01


def watchdog_of(log: Path) -> Watchdog | None:
    """The one that the environment asks for."""
    try:
        threshold = float(os.environ.get("LOCALQ_WATCHDOG", "")) / 1000
    except ValueError:
        return None
    return Watchdog(threshold, log) if threshold > 0 else None


class Watchdog:
    """`threshold` in seconds; `log` is written to, where that is possible."""

    def __init__(self, threshold: float, log: Path) -> None:
        self._threshold = threshold
        self._log = log
        self._late: list[float] = []
        """Seconds by which each beat came late."""
        self._last = time.monotonic()
        self._told = False
        """Whether what holds the loop up now is in the log."""
        self._over = threading.Event()
        self._loop_thread = 0

    def start(self) -> None:
        """Called in the loop that is to be watched."""
        self._loop_thread = threading.get_ident()
        self._last = time.monotonic()
        threading.Thread(target=self._watch, name="localq-watchdog", daemon=True).start()
        asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def stop(self) -> None:
        self._over.set()
        if self._late:
            late = sorted(self._late)
            self._write(
                f"watchdog: {len(late)} beats, late by {1000 * late[len(late) // 2]:.1f} ms in the"
                f" middle, {1000 * late[len(late) * 95 // 100]:.1f} at the 95th per cent,"
                f" {1000 * late[-1]:.1f} at most\n"
            )

    def _beat(self) -> None:
        now = time.monotonic()
        self._late.append(max(now - self._last - _BEAT_SECONDS, 0.0))
        if self._told:
            self._write(f"watchdog: that were {1000 * self._late[-1]:.0f} ms in all\n")
        self._last, self._told = now, False
        if not self._over.is_set():
            asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        while not self._over.wait(self._threshold / 2):
            held_up = time.monotonic() - self._last - _BEAT_SECONDS
            frame = sys._current_frames().get(self._loop_thread)
            if held_up > self._threshold and not self._told and frame is not None:
                self._told = True
                stack = "".join(traceback.format_stack(frame))
                self._write(f"watchdog: held up for {1000 * held_up:.0f} ms and more in\n{stack}")

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(time.strftime("%Y-%m-%d %H:%M:%S\n") + text)
