"""Where the user writes: enter sends, ctrl+j or shift+enter starts a new line."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var
from textual.widgets import TextArea

from localq.messages import msg
from localq.tui.text import tr

__all__ = ["Prompt"]


class Prompt(TextArea):
    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 3;
        max-height: 8;
        background: $surface;
        border: round $border-blurred;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        &:focus { border: round $border; }
        & .text-area--cursor-line { background: $surface; }
    }
    """

    # The page keys would move the cursor. Enter and ctrl+j are here for the key bar only.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", msg("Send"), key_display="↵"),
        Binding("ctrl+j,shift+enter", "newline", msg("New line"), key_display="^j"),
        Binding("pageup", "screen.scroll(-1)", show=False, priority=True),
        Binding("pagedown", "screen.scroll(1)", show=False, priority=True),
    ]

    accepting: var[bool] = var(False)
    """Whether enter sends; where it does not, the text stays."""

    class Submitted(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """Enter was pressed while nothing can be sent."""

    class Recalled(Message):
        """Up was pressed where nothing is written: what was said last is meant."""

    class TakenBack(Message):
        """Backspace was pressed where nothing is written: what goes along is meant."""

    def __init__(self) -> None:
        super().__init__(placeholder=tr("Message"), show_line_numbers=False, soft_wrap=True)

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]  # awaited if it can be
        """Enter and line breaks, in their turn among the letters: as bindings they would be
        handled elsewhere, and letters typed quickly could overtake them."""
        if event.key == "enter":
            self.action_submit()
        elif event.key in ("ctrl+j", "shift+enter"):
            self.action_newline()
        elif event.key == "up" and not self.text:
            self.post_message(self.Recalled())
        elif event.key == "backspace" and not self.text:
            self.post_message(self.TakenBack())
        else:
            return
        event.stop()
        event.prevent_default()

    def action_submit(self) -> None:
        text = self.text.strip()
        if not text:
            return
        if not self.accepting:
            self.post_message(self.Refused())
            return
        self.accepting = False
        self.clear()
        self.post_message(self.Submitted(text))

    def put_back(self, text: str) -> None:
        """What could not be sent, unless something else was typed meanwhile."""
        if text and not self.text:
            self.text = text
            self.move_cursor(self.document.end)

    def action_newline(self) -> None:
        self.insert("\n")
