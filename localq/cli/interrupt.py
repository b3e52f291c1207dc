"""Ctrl-C: the first asks the work to stop, the second leaves at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from localq.jobs.cancel_event import CancelEvent

__all__ = ["cancel_on_interrupt"]


@contextmanager
def cancel_on_interrupt() -> Iterator[CancelEvent]:
    """An event that Ctrl-C (and a polite kill) sets while the block runs."""
    cancel = CancelEvent()

    def stop(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.by_system = number != signal.SIGINT
        cancel.set()

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield cancel
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
