"""What people read: numbers in few digits, and text that localq did not write.

Bytes are in decimal units everywhere, files and memory alike: a gigabyte is 1,000,000,000 bytes.
One unit, so that a model's file can be compared with the memory it needs and the disk it goes to;
the decimal one, as the Hub, download speeds, drives and macOS count so, and as it goes with the
parameters: 8 billion at 4.5 bits are 4.5 GB. Memory that is sold as 16 GB reads as 17.2 GB. What
programs read (`--json`, `localq show`) is in bytes.
"""

from __future__ import annotations

import re
import time

from localq.messages import msg, translate

__all__ = ["age", "byte_size", "duration", "printable", "printable_lines", "short_count"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

# C0 and C1 controls, line separators, what turns the direction of the text around, and halves of
# surrogate pairs.
_HARMFUL = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_BUT_LINES = _HARMFUL.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f")
# Marks of direction and of byte order, and tags: nobody sees them, and they can hide in a name.
_UNSEEN = "\u061c\u200e\u200f\ufeff\U000e0000-\U000e007f"


def byte_size(size: float) -> str:
    """Bytes in three digits or fewer: "640 B", "76.3 MB", "1.2 GB"; below 0: "-1.2 GB"."""
    if size < 0:
        return f"-{byte_size(-size)}"
    value, unit = _scaled(size, ("B", "kB", "MB", "GB", "TB"))
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def short_count(number: float) -> str:
    """Parameters, downloads and such in three digits or fewer: "135M", "46.7B", "7B"."""
    value, unit = _scaled(number, ("", "K", "M", "B", "T"))
    return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}".removesuffix(".0") + unit


def duration(seconds: float) -> str:
    """0:07, 12:05, 1:02:03."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(then: float, now: float) -> str:
    """How long before `now` (both unix seconds): "5 min ago", in the
    user's language; the date after a month."""
    passed = now - then
    if then <= 0:
        return translate(msg("never"))
    if passed < _MINUTE:
        return translate(msg("just now"))
    if passed < _HOUR:
        return translate(msg("{minutes:.0f} min ago", minutes=passed // _MINUTE))
    if passed < _DAY:
        return translate(msg("{hours:.0f} h ago", hours=passed // _HOUR))
    if passed < 30 * _DAY:
        return translate(msg("{days:.0f} d ago", days=passed // _DAY))
    return time.strftime("%Y-%m-%d", time.localtime(then))


def printable(text: object) -> str:
    """`text`, a message in the user's language, on one line and without anything that could drive
    a terminal: line breaks and tabs become spaces, other controls U+FFFD."""
    line = translate(text) if isinstance(text, str) else str(text)
    if line.isascii() and line.isprintable():  # nearly all: no expression is compiled for them
        return line
    return _without(_HARMFUL, re.sub(r"[\t\r\n]+", " ", line))


def printable_lines(text: str) -> str:
    """`text` with its line breaks and tabs, but nothing else that drives a terminal."""
    return _without(_BUT_LINES, text.replace("\r\n", "\n"))


def _without(harmful: str, text: str) -> str:
    return re.sub(f"[{harmful}]", "\N{REPLACEMENT CHARACTER}", re.sub(f"[{_UNSEEN}]", "", text))


def _scaled(value: float, units: tuple[str, ...]) -> tuple[float, str]:
    for unit in units[:-1]:
        if value < 999.5:
            return value, unit
        value /= 1000
    return value, units[-1]
