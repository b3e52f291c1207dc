"""The help of the command line in the user's language."""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Iterator

import click

from localq.cli.columns import width_of
from localq.messages import DOMAIN, LOCALES, language, msg, translate

__all__ = ["in_users_language"]

# A word of Latin letters, or one character that a line may break after; never before punctuation.
_WORD = re.compile(r"(?:[!-~]+|[^!-~\s])[，。；：、？！”）…]*\s*|\s+")


def in_users_language(command: click.Command) -> click.Command:
    """The command with its texts translated, and those of the verbs below it."""
    if language() == "en":
        return command
    _translate_click()
    if command.help:
        command.help = _laid_out(translate(msg(inspect.cleandoc(command.help))))
    if command.short_help:
        command.short_help = translate(msg(command.short_help))
    if command.epilog:
        command.epilog = translate(msg(command.epilog))
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = translate(msg(parameter.help))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            in_users_language(below)
    return command


def _laid_out(text: str) -> str:
    """The paragraphs wrapped here: click counts characters, of which Chinese ones take two cells
    of the terminal each; and it would break lines at spaces only, of which there are few."""
    width = min(shutil.get_terminal_size().columns, 80) - 4
    return "\n\n".join("\b\n" + "\n".join(_lines(part, width)) for part in text.split("\n\n"))


def _lines(paragraph: str, width: int) -> Iterator[str]:
    line = ""
    for word in _WORD.findall(paragraph.replace("\n", "")):
        if line and width_of(line + word.rstrip()) > width:
            yield line.rstrip()
            line = word.lstrip()
        else:
            line += word
    yield line.rstrip()


def _translate_click() -> None:
    """Click asks gettext for its own words ("Usage:", "Options:"): they are in our catalogue."""
    import gettext

    os.environ["LANGUAGE"] = language()
    gettext.bindtextdomain(DOMAIN, LOCALES)
    gettext.textdomain(DOMAIN)
