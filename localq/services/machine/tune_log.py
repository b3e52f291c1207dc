"""The lines with which a tuning tells what it has measured so far, and the way back: so its log
shows it live, to whoever reads it."""

from __future__ import annotations

import re
from math import isfinite

from localq.planning.measurements import TuningPoint

__all__ = ["point_line", "points_in"]

_LINE = re.compile(
    r"^\W*(n_[a-z_]{1,20}) = (\d{1,6}): (\d{1,9}(?:\.\d{1,4})?) tok/s$", re.MULTILINE
)


def point_line(point: TuningPoint) -> str:
    """ "n_threads = 4: 31.25 tok/s" """
    return f"{point.setting} = {point.value}: {point.speed:.2f} tok/s"


def points_in(log: str) -> tuple[TuningPoint, ...]:
    """What the lines of `point_line` in a log say; of the same value the last one."""
    found = {}
    for setting, value, speed in _LINE.findall(log):
        point = TuningPoint(setting, int(value), float(speed))
        if isfinite(point.speed):
            found[setting, point.value] = point
    return tuple(found.values())
