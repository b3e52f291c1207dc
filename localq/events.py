"""What long work says while it runs: a stream of events, free of any screen.

A service takes an `Emit` and a cancel `threading.Event`. The command line draws the events as a
progress bar on stderr, the terminal app posts them as messages. A service returns its result;
`Finished` and `Failed` exist for those who watch a job from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Emit",
    "JobFailed",
    "JobFinished",
    "JobEvent",
    "Note",
    "Progress",
    "Started",
    "Unit",
    "ignore",
]


class Unit(StrEnum):
    """What `Progress.done` counts."""

    BYTES = "bytes"
    FILES = "files"
    TOKENS = "tokens"
    SECONDS = "seconds"
    TEXTS = "texts"
    PACKAGES = "packages"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Started:
    """Work on `title` begins."""

    title: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` `unit`s of the stage are finished (`total` 0: not known). `detail` is
    what is known so far."""

    stage: str
    done: int
    total: int
    unit: Unit = Unit.BYTES
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """One line worth reading; `warning` marks what the user may want to act on."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class JobFinished:
    result: object


@dataclass(frozen=True, slots=True)
class JobFailed:
    error: Exception


JobEvent = Started | Progress | Note | JobFinished | JobFailed
Emit = Callable[[JobEvent], None]


def ignore(event: JobEvent) -> None:
    """An Emit for callers who do not want to hear."""
