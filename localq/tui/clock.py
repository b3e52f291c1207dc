"""The two clocks the app reads, so that tests can stop them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    now: Callable[[], float] = time.time
    """Unix seconds."""
    ticks: Callable[[], float] = time.monotonic
    """Seconds that never run backwards."""
