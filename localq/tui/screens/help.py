"""The keys of the present screen: those that its bindings say, so that the page is always true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.types import CSSPathType
from textual.widgets import Static

from localq.messages import Message, msg, translate
from localq.tui.text import tr
from localq.tui.widgets.key_bar import KeyBar

__all__ = ["HelpDialog", "described"]

Line = tuple[str, str]


class HelpDialog(ModalScreen[None]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "help.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "dismiss", msg("Close"), key_display="esc")
    ]

    def __init__(self, screen: Screen[object]) -> None:
        """`screen`: whose keys are shown."""
        super().__init__()
        self._here, self._everywhere = described(screen)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("Keys")
            with VerticalScroll(id="keys"), Container(id="columns-of-keys"):
                yield Static(_page(tr("On this screen"), self._here), id="here")
                yield Static(_page(tr("Everywhere"), self._everywhere))
        yield KeyBar()


def described(screen: Screen[object]) -> tuple[list[Line], list[Line]]:
    """The keys of a screen and what each does; those of it and of what has the focus, and those
    that work on every screen."""
    here: dict[str, list[ActiveBinding]] = {}
    everywhere: dict[str, list[ActiveBinding]] = {}
    for active in screen.active_bindings.values():
        if not isinstance(active.binding.description, Message):
            continue  # a widget's own, which needs no words
        action = active.binding.action.removeprefix("app.")
        general = action != active.binding.action or active.node is screen.app
        (everywhere if general else here).setdefault(action, []).append(active)
    return _lines(screen, here.values()), _lines(screen, everywhere.values())


def _lines(screen: Screen[object], actions: Iterable[list[ActiveBinding]]) -> list[Line]:
    lines = []
    for bindings in actions:
        shown = (screen.app.get_key_display(active.binding) for active in bindings)
        what = bindings[0].binding.tooltip or bindings[0].binding.description
        lines.append(("  ".join(dict.fromkeys(shown)), translate(what)))
    return lines


def _page(title: str, lines: Iterable[Line]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(title, style="bold"))
    for key, action in lines:
        table.add_row(Text(f"  {key}"), Text(action, style="dim"))
    table.add_row()
    return table
