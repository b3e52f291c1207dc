"""The only place that prints: results to stdout, narration to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localq.cli.columns import lay_out
from localq.display import printable, printable_lines
from localq.errors import LocalqError
from localq.messages import msg, translate

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["error", "field", "json_document", "line", "narrate", "path", "stream", "table", "warn"]


def use_utf8() -> None:
    """Model names and replies are not always what a console's old code page can say."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def line(text: str) -> None:
    """A line of the result."""
    click.echo(printable(text))


def path(place: Path) -> None:
    """A path as the system knows it, byte for byte: what reads it opens it."""
    click.echo(str(place) if os.name == "nt" else os.fsencode(place))


def stream(text: str) -> None:
    """A piece of a reply as it comes; line breaks and tabs stay."""
    click.echo(printable_lines(text), nl=False)


def document(text: str) -> None:
    """A whole text of many lines, byte for byte: another program may read it."""
    click.echo(text.encode(*_UTF8), nl=False)


def text(value: str) -> None:
    """Lines that somebody else wrote, as a part of the result."""
    click.echo(printable_lines(value))


def dim(value: str) -> None:
    """The same, of less weight."""
    click.echo(click.style(printable_lines(value), dim=True))


def heading(label: str, notes: str = "") -> None:
    """What begins a part of the result, and what is to be said of it."""
    behind = f"  {click.style(notes, dim=True)}" if notes else ""
    click.echo(click.style(printable(label), bold=True) + behind)


def prompt(text: str) -> None:
    """The beginning of a text that the reply goes on with, for who looks at the terminal."""
    click.echo(click.style(printable_lines(text), dim=True), err=True, nl=False)


def thought(text: str) -> None:
    """A piece of what a model thinks before it answers, for the same person."""
    click.echo(click.style(printable_lines(text), dim=True), err=True, nl=False)


def narrate(text: str) -> None:
    """A line for the person in front of the terminal."""
    click.echo(printable(text), err=True)


def aside(text: str) -> None:
    """A line for that person, of less weight."""
    click.echo(click.style(f"[{printable(text)}]", dim=True), err=True)


def warn(text: str) -> None:
    click.echo(f"{_colour(msg('warning:'), 'yellow')} {printable(text)}", err=True)


def error(failure: LocalqError) -> None:
    """The one line that says what went wrong, and the one that says what to do."""
    click.echo(f"{_colour(msg('error:'), 'red')} {printable(failure.message)}", err=True)
    if failure.hint:
        click.echo(f"{_colour(msg('  try:'), 'cyan')} {printable(failure.hint)}", err=True)


def field(label: str, value: object, width: int = 14) -> None:
    """A line of the result: what it is, in a column of `width` cells, and what that is."""
    line(padded(label, width) + " " + printable(value))


def padded(label: str, width: int) -> str:
    """The label, in the user's language, and spaces up to `width` cells of the terminal."""
    from localq.cli.columns import width_of

    shown = translate(label)
    return shown + " " * (width - width_of(shown))


def json_document(value: object, *, indent: int | None = 2) -> None:
    """The one JSON document of a verb's `--json`; `indent` None: in one line."""
    import json

    click.echo(json.dumps(to_json(value), ensure_ascii=False, indent=indent).encode(*_UTF8))


def json_line(value: object) -> None:
    """One of several JSON documents, on a line of its own."""
    import json

    click.echo(json.dumps(to_json(value), ensure_ascii=False).encode(*_UTF8))


# Of a path that is not UTF-8 the odd bytes become \\udcXX, from which a reader can tell them.
_UTF8 = ("utf-8", "backslashreplace")


def to_json(value: object) -> Any:
    """A result as other programs read it: enums by the values that users type."""
    from localq.json_codec import json_scalar
    from localq.json_codec import to_json as as_json

    def scalar(value: object) -> Any:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, Path):  # the same text in every locale
            return os.fsencode(value).decode("utf-8", "surrogateescape")
        if isinstance(value, float) and value - value != 0:
            return None  # JSON has neither NaN nor infinity
        return json_scalar(value)

    return as_json(value, scalar)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns for people: numbers to the right; as wide as they need when not on a terminal."""
    click.echo("\n".join(_table(headings, rows)))


def drawn(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Text:
    """The columns of `table`, for who draws them anew again and again."""
    from rich.text import Text

    return Text.from_ansi("\n".join(_table(headings, rows)), no_wrap=True)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    cells = ([printable(cell) for cell in row] for row in rows)
    first, *rest = lay_out(headings, cells, width)
    return [click.style(first, dim=True), *rest]


def _colour(text: str, colour: str) -> str:
    return click.style(translate(text), fg=colour, bold=True)
