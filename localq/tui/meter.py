"""Speed and time left, from what a job said in the last few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from localq.events import Progress

__all__ = ["SpeedMeter", "Reading"]

_WINDOW = 5.0
_FIRST_READING = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """`rate` is units per second; both are None while it is too early to say."""

    rate: float | None
    seconds_left: float | None


class SpeedMeter:
    """Starts anew with each stage."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._stage: str | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def read(self, progress: Progress) -> Reading:
        now = self._ticks()
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._samples.clear()
        self._samples.append((now, progress.done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()
        began, before = self._samples[0]
        if now - began < _FIRST_READING or progress.done <= before:
            return Reading(None, None)
        rate = (progress.done - before) / (now - began)
        left = (progress.total - progress.done) / rate if progress.total else None
        return Reading(rate, None if left is None else max(left, 0.0))
