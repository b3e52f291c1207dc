"""Job events on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from localq.cli import output
from localq.display import byte_size, printable
from localq.events import JobEvent, Note, Progress, Started, Unit
from localq.messages import msg, translate

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["ProgressDisplay"]

_LINE_SECONDS = 5.0


class ProgressDisplay:
    """An `Emit` to be used as a context manager; `quiet` leaves only warnings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._next_line = time.monotonic() + _LINE_SECONDS

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: JobEvent) -> None:
        match event:
            case Note(text, warning=True):
                self._close()
                output.warn(text)
            case Note(text) | Started(text) if not self._quiet:
                self._close()
                output.narrate(text)
            case Progress() if not self._quiet:
                if sys.stderr.isatty():
                    self._draw(event)
                else:
                    self._line(event)

    def _draw(self, event: Progress) -> None:
        if self._bar is None:
            self._bar = _bar(event.unit)
            self._bar.start()
        if self._task is None or event.stage != self._stage:
            self._task = self._bar.add_task(printable(event.stage), total=None)
            self._stage = event.stage
        shown = msg("{stage}: {detail}", stage=event.stage, detail=event.detail)
        self._bar.update(
            self._task,
            completed=event.done,
            total=event.total or None,
            description=printable(shown if event.detail else event.stage),
        )

    def _line(self, event: Progress) -> None:
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + _LINE_SECONDS
        done = byte_size(event.done) if event.unit is Unit.BYTES else str(event.done)
        share = f" ({100 * event.done // event.total} %)" if event.total else ""
        share += f", {translate(event.detail)}" if event.detail else ""
        output.narrate(msg("{stage}: {done}{share}", stage=event.stage, done=done, share=share))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None


def _bar(unit: Unit) -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    counted = (
        (DownloadColumn(), TransferSpeedColumn()) if unit is Unit.BYTES else (MofNCompleteColumn(),)
    )
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *counted,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
