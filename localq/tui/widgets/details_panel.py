"""The details of one model, a page at a time, read from its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Static

from localq.display import printable
from localq.errors import LocalqError
from localq.messages import msg, translate
from localq.tui import details
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.notice import error_text

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.services.library.inspect import ModelDetails
    from localq.services.machine.plan import PlannedModel

__all__ = ["PAGES", "DetailsPanel"]

PAGES = (
    ("overview", msg("Overview")),
    ("memory", msg("Memory")),
    ("tensors", msg("Tensors")),
    ("template", msg("Template")),
    ("metadata", msg("Metadata")),
)
_SETTLE = 0.1
"""Seconds the cursor rests on a model before its file is read."""


class DetailsPanel(CallListener, VerticalScroll):
    model: reactive[Model | None] = reactive(None)
    page: reactive[str] = reactive("overview")
    n_ctx: reactive[int | None] = reactive(None)
    """The context that the page of memory shows; None: as planned."""

    def __init__(self, context: AppContext) -> None:
        super().__init__(id="detail")
        self.border_title = tr("Details")
        self.context = context
        self.same_base: Sequence[Model] = ()
        self._pages = Static(id="pages")
        self._body = Static(markup=False, id="page")
        self._settling: Timer | None = None
        self._read_details: ModelDetails | None = None
        self._planned: PlannedModel | None = None

    def compose(self) -> ComposeResult:
        yield self._pages
        yield self._body

    def watch_model(self, before: Model | None, model: Model | None) -> None:
        if self._settling is not None:
            self._settling.stop()
            self._settling = None
        same = before is not None and model is not None and before.name == model.name
        if not same:
            self._read_details = self._planned = None
            self.scroll_home(animate=False)
        self._draw()
        if model is not None:
            self._settling = self.set_timer(_SETTLE, self._read)

    def watch_page(self) -> None:
        self.scroll_home(animate=False)
        self._draw()
        if self.page == "memory":
            self._plan()

    def watch_n_ctx(self) -> None:
        self._plan()

    def turn(self, by: int) -> None:
        """To another page."""
        names = [name for name, _ in PAGES]
        self.page = names[(names.index(self.page) + by) % len(names)]

    def change_context(self, by: int) -> None:
        """Half or double the context that the memory is shown for."""
        if self._planned is None or self.page != "memory":
            self.page = "memory"
            return
        self.n_ctx = details.other_context(self._planned, self.n_ctx, by)

    def on_click(self, event: events.Click) -> None:
        if page := event.style.meta.get("page"):
            self.page = str(page)

    def _read(self) -> None:
        model, show = self.model, self.context.services.library.show
        if model is None:
            return

        def draw(read: ModelDetails) -> None:
            if self.model is not None and model.name == self.model.name:
                self._read_details = read  # else the cursor has moved on
                self._draw()

        self.context.calls.start(
            self,
            lambda say, cancel: show(model.name),
            done=draw,
            failed=lambda error: self._cannot(model, error),
        )
        if self.page == "memory":
            self._plan()

    def _plan(self) -> None:
        model, n_ctx, plan = self.model, self.n_ctx, self.context.services.machine.plan
        if model is None or not model.format.is_runnable:
            return

        def draw(planned: PlannedModel) -> None:
            if model is self.model and n_ctx == self.n_ctx:
                self._planned = planned
                self._draw()

        self.context.calls.start(
            self,
            lambda say, cancel: plan(model.name, n_ctx, cancel),
            done=draw,
            failed=lambda error: self._cannot(model, error),
        )

    def _cannot(self, model: Model, error: LocalqError) -> None:
        if model is self.model:
            self._fill(error_text(error))

    def _draw(self) -> None:
        if self.model is not None:
            self._fill(self._content(self.model))
        else:
            self._pages.update("")
            self._body.update("")

    def _content(self, model: Model) -> RenderableType:
        read = self._read_details
        if self.page == "memory":
            if not model.format.is_runnable:
                return Text(
                    tr(
                        "A checkpoint does not run as it is: quantize it (q), which shows what"
                        " each type takes."
                    ),
                    overflow="fold",
                )
            if self._planned is not None:
                return details.memory(self._planned, self.n_ctx)
            return Text(tr("Reading…"), "dim")
        if read is None:
            return details.known(model) if self.page == "overview" else Text(tr("Reading…"), "dim")
        match self.page:
            case "tensors":
                return details.tensors(read)
            case "template":
                return details.template(read)
            case "metadata":
                return details.metadata(read)
        return details.overview(read, self.same_base, self.context.clock.now())

    def _fill(self, content: RenderableType) -> None:
        if self.model is None:
            return
        pages = Text(no_wrap=True, overflow="ellipsis")
        for name, label in PAGES:
            chosen = name == self.page
            shown = f"[{translate(label)}]" if chosen else f" {translate(label)} "
            at = len(pages)
            pages.append(shown, "bold" if chosen else "dim")
            pages.apply_meta({"page": name}, at, len(pages))
        self._pages.update(pages)
        self.border_title = Text(printable(self.model.name)).markup
        self._body.update(content)
