"""The details of one model, read from its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Static

from localq.display import printable
from localq.errors import LocalqError
from localq.tui import details, strings
from localq.tui.context import AppContext
from localq.tui.jobs import JobListener
from localq.tui.widgets.notice import error_text

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.services.library.inspect import ModelDetails

__all__ = ["DetailsPanel"]

_SETTLE = 0.1
"""Seconds the cursor rests on a model before its file is read."""


class DetailsPanel(JobListener, VerticalScroll):
    model: reactive[Model | None] = reactive(None)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.border_title = strings.DETAILS_TITLE
        self.context = context
        self._body = Static(markup=False)
        self._settling: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self._body

    def watch_model(self, model: Model | None) -> None:
        if self._settling is not None:
            self._settling.stop()
            self._settling = None
        if model is None:
            self._body.update("")
        else:
            self._draw_lines(model, details.known_lines(model), complete=False)
            self._settling = self.set_timer(_SETTLE, self._read)
        self.scroll_home(animate=False)

    def _read(self) -> None:
        model, show = self.model, self.context.services.show
        if model is None:
            return

        def draw(read: ModelDetails) -> None:
            if model is self.model:  # the cursor may have moved on
                lines = details.lines(read, self.context.clock.now())
                self._draw_lines(model, lines, complete=True)

        def draw_error(error: LocalqError) -> None:
            if model is self.model:
                self._draw(model, error_text(error))

        self.context.jobs.start(
            self, lambda say, cancel: show(model.name), done=draw, failed=draw_error
        )

    def _draw_lines(
        self, model: Model, lines: Sequence[details.DetailLine], *, complete: bool
    ) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in lines:
            table.add_row(Text(label, style="dim"), Text(value))
        if not complete:
            table.add_row(Text(), Text(strings.DETAILS_LOADING, style="dim"))
        self._draw(model, table)

    def _draw(self, model: Model, content: RenderableType) -> None:
        title = Text(printable(model.name), style="bold", overflow="fold")
        self._body.update(Group(title, Text(), content))
