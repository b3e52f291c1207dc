"""Numbers as people read them."""

from __future__ import annotations

import time

from localq.tui import strings

__all__ = ["age", "byte_count", "duration", "parameter_count"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def byte_count(count: float) -> str:
    """Decimal units, three digits or fewer: 640 B, 76.3 MB, 1.2 GB."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"), " ")


def parameter_count(count: int) -> str:
    """260K, 135M, 1.1B."""
    return _scaled(count, ("", "K", "M", "B", "T"), "")


def duration(seconds: float) -> str:
    """0:07, 12:05, 1:02:03."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(then: float, now: float) -> str:
    """How long before `now` (both unix seconds): "5 min ago"; the date after a month."""
    passed = now - then
    if then <= 0:
        return strings.NEVER
    if passed < _MINUTE:
        return strings.JUST_NOW
    if passed < _HOUR:
        return strings.MINUTES_AGO.format(int(passed // _MINUTE))
    if passed < _DAY:
        return strings.HOURS_AGO.format(int(passed // _HOUR))
    if passed < 30 * _DAY:
        return strings.DAYS_AGO.format(int(passed // _DAY))
    return time.strftime("%Y-%m-%d", time.localtime(then))


def _scaled(count: float, units: tuple[str, ...], gap: str) -> str:
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(units) - 1:
        value /= 1000
        unit += 1
    whole = unit == 0 or value >= 99.95 or value == int(value)
    return f"{value:.0f}{gap}{units[unit]}" if whole else f"{value:.1f}{gap}{units[unit]}"
