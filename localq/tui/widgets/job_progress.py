"""How far a job is: stage, bar, amount, speed and time left."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ProgressBar, Static

from localq.display import byte_size, duration, printable
from localq.events import JobEvent, Note, Progress, Started, Unit
from localq.tui import strings
from localq.tui.meter import Reading, SpeedMeter

__all__ = ["JobProgressBar"]


class JobProgressBar(Vertical):
    DEFAULT_CSS = """
    JobProgressBar {
        height: auto;
        ProgressBar { width: 1fr; margin: 1 0; }
        Bar { width: 1fr; }
        Bar > .bar--bar { color: $primary; background: $border-blurred; }
        Bar > .bar--indeterminate { color: $primary; background: $border-blurred; }
        Bar > .bar--complete { color: $success; background: $border-blurred; }
        .job-progress--stage { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        .job-progress--amount { height: 1; color: $text-muted; }
        .job-progress--note { height: auto; color: $text-muted; margin-top: 1; }
    }
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        super().__init__()
        self._ticks = ticks
        self._meter = SpeedMeter(ticks)
        self._stage = Static(classes="job-progress--stage", markup=False)
        self._bar = ProgressBar(show_eta=False)
        self._amount = Static(classes="job-progress--amount", markup=False)
        self._note = Static(classes="job-progress--note", markup=False)

    def compose(self) -> ComposeResult:
        yield self._stage
        yield self._bar
        yield self._amount
        yield self._note

    def begin(self) -> None:
        """Forget the last job."""
        self._meter = SpeedMeter(self._ticks)
        self._bar.update(total=None, progress=0)
        self._stage.update(strings.STARTING)
        self._amount.update("")
        self._note.update("")

    def hear(self, event: JobEvent) -> None:
        match event:
            case Started(title):
                self._stage.update(Text(printable(title)))
            case Progress():
                self._stage.update(Text(printable(event.stage)))
                self._bar.update(total=event.total or None, progress=event.done)
                self._amount.update(Text(_amount(event, self._meter.read(event))))
            case Note(text):
                self._note.update(Text(printable(text)))

    def stopping(self) -> None:
        self._stage.update(strings.STOPPING)


def _amount(progress: Progress, reading: Reading) -> str:
    """ "412 MB of 2.1 GB · 145 MB/s · 0:12 left"."""

    def count(value: float) -> str:
        if progress.unit is Unit.BYTES:
            return byte_size(value)
        return f"{value:,.0f} {progress.unit}"

    done = count(progress.done)
    parts = [
        strings.AMOUNT_OF.format(done, count(progress.total)) if progress.total else done,
    ]
    if reading.rate is not None:
        parts.append(strings.PER_SECOND.format(count(reading.rate)))
    if reading.seconds_left is not None:
        parts.append(strings.SECONDS_LEFT.format(duration(reading.seconds_left)))
    return " · ".join(parts)
