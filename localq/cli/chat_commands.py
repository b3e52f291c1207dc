"""What can be done in a chat besides talking: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localq.errors import UsageError
from localq.messages import Message, msg

__all__ = ["COMMANDS", "steps"]

COMMANDS: Mapping[str, Message] = {
    "/edit": msg("say something else in place of the last thing said: /edit [TEXT]"),
    "/retry": msg("another reply"),
    "/back": msg("go on before the last thing said"),
    "/prev": msg("turn to the branch before this one"),
    "/next": msg("turn to the branch after this one"),
    "/file": msg("send a text file with the next message: /file PATH"),
    "/image": msg("send a picture with the next message: /image PATH"),
    "/system": msg("show or change the system prompt: /system [TEXT]"),
    "/preset": msg("use a preset: /preset NAME"),
    "/full": msg("when the context is full: /full stop, slide or summarise"),
    "/model": msg("go on with another model: /model NAME"),
    "/tokens": msg("how full the context is"),
    "/save": msg("give the session a title: /save TITLE"),
    "/export": msg("write the session to a file: /export FILE.md, .json or .html"),
    "/new": msg("begin another session"),
    "/help": msg("this list"),
    "/quit": msg("leave; Ctrl-D does too"),
}
_OTHER_NAMES = {"/bye": "/quit", "/exit": "/quit", "/?": "/help", "/regenerate": "/retry"}
_TAKE_LINES = ("/edit", "/system")
"""Their text may have several lines, all others end with theirs."""


def steps(text: str) -> Iterator[tuple[str, str]]:
    """What a text asks for, one after another: a command and what follows it, or "" and a message.
    A text that begins with a command may have more of them on its next lines, as one pastes them;
    in one that does not, a slash is only a slash. UsageError for a command that is none."""
    lines = text.split("\n")
    while lines:
        if not (command := _command(lines[0].strip())):
            if _looks_like_command(lines[0].strip()):
                raise UsageError(
                    msg("there is no {command}", command=lines[0].split()[0]),
                    hint=msg("/help lists what there is"),
                )
            yield "", "\n".join(lines)
            return
        rest = [lines.pop(0).strip().partition(" ")[2]]
        while command in _TAKE_LINES and lines and not _command(lines[0].strip()):
            rest.append(lines.pop(0))
        while lines and not lines[0].strip():
            lines.pop(0)
        yield command, "\n".join(rest).strip()


def _command(line: str) -> str:
    """The command that a line begins with; "" where it is none."""
    name = line.partition(" ")[0]
    name = _OTHER_NAMES.get(name, name)
    return name if name in COMMANDS else ""


def _looks_like_command(line: str) -> bool:
    """/help is meant as one, /usr/bin is not."""
    name = line.partition(" ")[0]
    return name.startswith("/") and name[1:].isalpha()
