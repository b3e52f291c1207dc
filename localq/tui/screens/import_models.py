"""Taking in what other programs on this machine hold, without a second copy of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Static

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import elide, tr
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from localq.tui.services.library import Held

__all__ = ["ImportDialog"]


@dataclass(frozen=True, slots=True)
class _Pick:
    tool: str
    names: tuple[str, ...]


class ImportDialog(CallListener, ModalScreen[Callable[[], object]]):
    """Dismissed with what makes the request of the job."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "import_models.tcss"]
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", msg("Take in"), key_display="↵"),
        Binding("space", "mark", msg("Choose several")),
        Binding("escape", "close", msg("Close")),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("Take in from other programs")
            yield Notice()
            yield Static(tr("Looking at what other programs hold…"), id="about", classes="about")
            yield Table["Held"](
                (
                    Column(msg("Program"), lambda row, _: Text(row.tool), width=10),
                    Column(msg("Model"), lambda row, w: Text(elide(printable(row.name), w))),
                    Column(
                        msg("Type"),
                        lambda row, w: Text(elide(printable(row.quant), w)),
                        width=8,
                        rank=2,
                    ),
                    Column(
                        msg("Size"),
                        lambda row, _: Text(byte_size(row.size_bytes)),
                        width=9,
                        right=True,
                        rank=1,
                    ),
                ),
                lambda row: f"{row.tool} {row.name}",
            )
        yield KeyBar()

    def on_mount(self) -> None:
        held = self.context.services.library.held_by_others
        self.context.calls.start(
            self,
            lambda say, cancel: held(say, cancel),
            done=self._show,
            failed=self._cannot,
        )

    def _show(self, held: tuple[Held, ...]) -> None:
        size = byte_size(sum(row.size_bytes for row in held))
        told = (
            tr(
                "{count} models, {size}. Where the disk allows it, they are linked, not copied.",
                count=len(held),
                size=size,
            )
            if held
            else tr("No other program on this machine holds a model that is not here already.")
        )
        self.query_one("#about", Static).update(told)
        self.query_one(Table).show(held)

    def _cannot(self, error: LocalqError) -> None:
        self.query_one(Notice).show_error(error)

    def action_mark(self) -> None:
        table = self.query_one(Table)
        if table.current is not None:
            table.marked = table.marked ^ {table.key_of(table.current)}
            table.action_move(1)

    @on(Table.Selected)
    def _selected(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        table = self.query_one(Table)
        rows: list[Held] = [row for row in table.rows if table.key_of(row) in table.marked]
        if not rows and table.current is not None:
            rows = [table.current]
        if not rows:
            return
        tool = rows[0].tool
        if any(row.tool != tool for row in rows):
            self.query_one(Notice).show_remark(tr("Take in from one program at a time."))
            return
        pick = _Pick(tool, tuple(row.name for row in rows))
        self.dismiss(lambda: _request(pick))

    def action_close(self) -> None:
        self.dismiss(None)


def _request(pick: _Pick) -> object:
    from localq.services.library.import_models import ImportRequest

    return ImportRequest(tool=pick.tool, names=pick.names)
