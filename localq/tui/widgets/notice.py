"""An error or a remark inside a screen: one line that says what is wrong, one that helps."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from localq.display import printable
from localq.errors import LocalqError
from localq.messages import translate
from localq.tui.hints import in_the_app

__all__ = ["Notice", "error_text"]


def error_text(error: LocalqError) -> Text:
    """The error's line, its hint dimmed below it."""
    text = Text(printable(translate(error.message)), overflow="fold")
    if error.hint:
        hint = in_the_app(translate(error.hint))
        text.append(f"\n→ {printable(hint)}", style="dim")
    return text


class Notice(Static):
    """Takes no room while it has nothing to say."""

    DEFAULT_CSS = """
    Notice {
        display: none;
        height: auto;
        padding: 0 1;
        border-left: outer $warning;
        color: $foreground;
        &.-shown { display: block; }
        &.-error { border-left: outer $error; }
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show_error(self, error: LocalqError) -> None:
        self.update(error_text(error))
        self.add_class("-shown", "-error")

    def show_remark(self, text: str) -> None:
        self.update(Text(printable(text)))
        self.remove_class("-error")
        self.add_class("-shown")

    def hide(self) -> None:
        self.remove_class("-shown", "-error")
