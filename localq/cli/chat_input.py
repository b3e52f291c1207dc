"""What the user types in a chat: with history, several lines and completion on a terminal, else
the lines of stdin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from localq.cli.stdin_text import stdin_line

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

__all__ = ["ChatInput", "PipedInput", "TerminalInput", "unquoted"]

_QUOTES = '"""'


class ChatInput(Protocol):
    def ask(self, default: str = "") -> str | None:
        """The next thing the user says; None: no more comes. `default` may be changed.
        KeyboardInterrupt."""

    @property
    def is_terminal(self) -> bool: ...


class PipedInput:
    """Each line is a message; lines between two of \"\"\" are one."""

    is_terminal = False

    def __init__(self) -> None:
        self._lines = 0

    def ask(self, default: str = "") -> str | None:
        text = self._next()
        while text is not None and _is_open(text) and (line := self._next()) is not None:
            text += "\n" + line
        return None if text is None else unquoted(text)

    def _next(self) -> str | None:
        self._lines += 1
        return stdin_line(self._lines)


class TerminalInput:
    """Enter sends; Alt-Enter, Ctrl-J, or Enter after an opening \"\"\" begin another line."""

    is_terminal = True

    def __init__(
        self,
        history: Path,
        commands: Mapping[str, str],
        complete: Callable[[str, str], Iterable[str]],
        status: Callable[[], str],
    ) -> None:
        """`commands` are those that begin with "/", and what each is for; `complete` gives what
        may follow a command; `status` is shown below, anew every second."""
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession(
            history=_history(history),
            multiline=True,
            key_bindings=_keys(),
            completer=_completer(commands, complete),
            complete_while_typing=False,
            bottom_toolbar=status,
            refresh_interval=1.0,
            prompt_continuation="... ",
        )

    def ask(self, default: str = "") -> str | None:
        try:
            return unquoted(self._session.prompt(">>> ", default=default))
        except EOFError:
            return None


def unquoted(text: str) -> str:
    """Without the quotes that hold several lines together."""
    stripped = text.strip()
    if stripped.startswith(_QUOTES):
        return stripped.removeprefix(_QUOTES).removesuffix(_QUOTES).strip("\n")
    return text


def _is_open(text: str) -> bool:
    stripped = text.strip()
    if not stripped.startswith(_QUOTES):
        return False
    return len(stripped) < 2 * len(_QUOTES) or not stripped.endswith(_QUOTES)


def _history(path: Path) -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state:
            buffer.complete_state = None
        elif _is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _completer(
    commands: Mapping[str, str], complete: Callable[[str, str], Iterable[str]]
) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Commands(Completer):
        def get_completions(
            self, document: Document, complete_event: CompleteEvent
        ) -> Iterable[Completion]:
            text = document.text_before_cursor
            if not text.startswith("/") or "\n" in text:
                return
            command, space, rest = text.partition(" ")
            if space:
                for word in complete(command, rest):
                    yield Completion(word, start_position=-len(rest))
                return
            for name, about in commands.items():
                if name.startswith(command):
                    yield Completion(name, start_position=-len(command), display_meta=about)

    return Commands()
