"""All keys on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Static

from localq.tui import strings
from localq.tui.widgets.key_bar import KeyBar

__all__ = ["HelpDialog"]

_LIBRARY = (
    ("↑ ↓  j k", strings.HELP_MOVE),
    ("↵", strings.KEY_CHAT),
    ("q", strings.KEY_QUANTIZE),
    ("p", strings.KEY_PULL),
    ("d", strings.KEY_DELETE),
    ("/", strings.KEY_FILTER),
    ("i", strings.KEY_DETAILS),
    ("r", strings.KEY_REFRESH),
)
_CHAT = (
    ("↵", strings.KEY_SEND),
    ("^j  shift+↵", strings.KEY_NEWLINE),
    ("esc", strings.HELP_ESC_CHAT),
    ("pgup  pgdn", strings.HELP_SCROLL),
)
_EVERYWHERE = (
    ("?  f1", strings.KEY_HELP),
    ("^p", strings.HELP_PALETTE),
    ("^c", strings.HELP_COPY),
    ("^q", strings.KEY_QUIT),
)


class HelpDialog(ModalScreen[None]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "help.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", strings.KEY_CLOSE, key_display="esc")
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = strings.HELP_TITLE
            with VerticalScroll(id="keys"), Container(id="columns"):
                yield Static(_page(((strings.HELP_LIBRARY, _LIBRARY),)), id="library")
                yield Static(
                    _page(((strings.HELP_CHAT, _CHAT), (strings.HELP_EVERYWHERE, _EVERYWHERE)))
                )
        yield KeyBar()


def _page(sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, keys in sections:
        table.add_row(Text(title, style="bold"))
        for key, action in keys:
            table.add_row(Text(f"  {key}"), Text(action, style="dim"))
        table.add_row()
    return table
