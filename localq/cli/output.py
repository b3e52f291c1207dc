"""The only place that prints: results to stdout, narration to stderr."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from localq.cli.columns import lay_out
from localq.errors import LocalqError
from localq.json_codec import json_scalar
from localq.json_codec import to_json as as_json

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["byte_count", "count", "error", "json_document", "line", "narrate", "plain", "table"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def use_utf8() -> None:
    """Model names and replies are not always what a console's old code page can say."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def plain(text: object) -> str:
    """`text` on one line and without anything that could drive a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _lines(text: str) -> str:
    """`text` with its line breaks and tabs, but nothing else that drives a terminal."""
    return "".join(p if p in "\n\t" else plain(p) for p in re.split(r"([\n\t])", text))


def line(text: str) -> None:
    """A line of the result."""
    click.echo(plain(text))


def stream(text: str) -> None:
    """A piece of a reply as it comes; line breaks and tabs stay."""
    click.echo(_lines(text), nl=False)


def prompt(text: str) -> None:
    """The beginning of a text that the reply goes on with, for who looks at the terminal."""
    click.echo(click.style(_lines(text), dim=True), err=True, nl=False)


def narrate(text: str) -> None:
    """A line for the person in front of the terminal."""
    click.echo(plain(text), err=True)


def warn(text: str) -> None:
    click.echo(f"{_colour('warning:', 'yellow')} {plain(text)}", err=True)


def error(failure: LocalqError) -> None:
    """The one line that says what went wrong, and the one that says what to do."""
    click.echo(f"{_colour('error:', 'red')} {plain(failure.message)}", err=True)
    if failure.hint:
        click.echo(f"{_colour('  try:', 'cyan')} {plain(failure.hint)}", err=True)


def json_document(value: object) -> None:
    """The one JSON document of a verb's `--json`."""
    click.echo(json.dumps(to_json(value), ensure_ascii=False, indent=2).encode(*_UTF8))


_UTF8 = ("utf-8", "replace")


def to_json(value: object) -> Any:
    """A result as other programs read it: enums by the values that users type."""
    return as_json(value, _scalar)


def _scalar(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and value - value != 0:
        return None  # JSON has neither NaN nor infinity
    return json_scalar(value)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns for people: numbers to the right; as wide as they need when not on a terminal."""
    click.echo("\n".join(_table(headings, rows)))


def drawn(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Text:
    """The columns of `table`, for who draws them anew again and again."""
    from rich.text import Text

    return Text.from_ansi("\n".join(_table(headings, rows)), no_wrap=True)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    cells = ([plain(cell) for cell in row] for row in rows)
    first, *rest = lay_out(headings, cells, width)
    return [click.style(first, dim=True), *rest]


def byte_count(size: int) -> str:
    """1,234,567 bytes as "1.2 MB"."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def count(number: int) -> str:
    """134,515,008 parameters as "135M"."""
    value = float(number)
    for unit in ("", "K", "M", "B"):
        if value < 999.5:
            return f"{value:.0f}{unit}" if not unit or value >= 9.95 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}T"


def _colour(text: str, colour: str) -> str:
    return click.style(text, fg=colour, bold=True)
