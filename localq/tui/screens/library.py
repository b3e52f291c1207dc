"""The library: the models of this machine, and what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.reactive import reactive
from textual.timer import Timer
from textual.types import CSSPathType
from textual.widgets import Input, Static

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui import listing
from localq.tui.context import AppContext
from localq.tui.screens.model_actions import ModelActions
from localq.tui.text import tr
from localq.tui.watch import HomeNews
from localq.tui.widgets.details_panel import DetailsPanel
from localq.tui.widgets.model_table import ModelTable
from localq.tui.widgets.notice import Notice
from localq.tui.widgets.table import Table

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.quality.cards import QualityCard
    from localq.tui.services.machine import Fitting
    from localq.tui.widgets.welcome import Welcome

__all__ = ["LibraryScreen"]

_PLANNING_AFTER = 0.5
"""Seconds the models are on the screen, and the cursor rests, before the memory of each is looked
up, which imports much that nobody should wait for."""
_PLANNED_AT_ONCE = 16
"""Models whose memory is looked up in one call."""


class LibraryScreen(ModelActions):
    NAME = "library"
    CSS_PATH: ClassVar[CSSPathType | None] = "library.tcss"
    AUTO_FOCUS = "ModelTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", msg("Filter"), key_display="/"),
        Binding("escape", "clear", msg("Clear")),
        Binding("space", "mark", msg("Choose several"), show=False),
        Binding("ctrl+a", "mark_all", msg("Choose all"), show=False),
        Binding("s", "sort", msg("Sort"), show=False, tooltip=msg("Sort by another column")),
        Binding("b", "group", msg("Group by checkpoint"), show=False),
        Binding("right,right_square_bracket", "page(1)", msg("Next page of details"), show=False),
        Binding("left,left_square_bracket", "page(-1)", msg("Page before"), show=False),
        Binding("plus,equals_sign", "context(1)", msg("More context"), show=False),
        Binding("minus", "context(-1)", msg("Less context"), show=False),
        Binding("i", "details", msg("Show or hide the details"), show=False),
        Binding("r", "refresh", msg("Read the library anew"), show=False),
    ]

    models: reactive[tuple[Model, ...] | None] = reactive(None, init=False)
    """None until the library was read."""
    wanted: reactive[str] = reactive("", init=False)
    """What the filter asks for."""
    filtering: reactive[bool] = reactive(False, init=False)
    """Whether the filter is there to be typed into."""
    sort: reactive[str] = reactive("name", init=False)
    grouped: reactive[bool] = reactive(True, init=False)
    marked: reactive[frozenset[str]] = reactive(frozenset(), init=False)

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._highlight: str | None = None
        """The model to put the cursor on once it is listed."""
        self._fits: dict[str, Text] = {}
        self._cards: dict[Path, QualityCard] = {}
        self._reading = False
        self._planning: Timer | None = None
        self._stale = False
        """Whether the models changed while they were read."""
        self._version = 0
        """Of the models that are shown, as the app's news counts."""

    def compose_body(self) -> ComposeResult:
        with Container(id="columns"):
            with Vertical(id="list") as box:
                box.border_title = tr("Models")
                yield Notice()
                yield ModelTable(self.context.clock.now, self._fits, self._cards)
                yield Static(tr("Reading the library…"), id="nothing", markup=False)
            yield DetailsPanel(self.context)

    def on_mount(self) -> None:
        models = self.context.services.library.taken_ahead()
        if models is None:
            self._read_library()
        else:
            self._library_read(tuple(models))

    def home_changed(self, news: HomeNews) -> None:
        if news.library != self._version:
            self._version = news.library
            self._read_library()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pull", "import_models", "refresh", "undo"):
            return True
        if action == "clear":
            return self.filtering or bool(self.marked)
        if action in _OF_MODELS:
            typing = action == "filter" and isinstance(self.focused, Input)
            return bool(self.models) and not typing
        return True

    # --- the models ---

    def action_refresh(self) -> None:
        self._read_library()

    def highlight(self, name: str) -> None:
        """Put the cursor on this model, now or once it is listed."""
        self._highlight = name
        if self.models is not None and any(model.name == name for model in self.models):
            self._list()
        else:
            self._read_library()

    def _read_library(self) -> None:
        if self._reading:
            self._stale = True
            return
        self._reading, self._stale = True, False
        models = self.context.services.library.models
        self.context.calls.start(
            self,
            lambda say, cancel: tuple(models()),
            done=self._library_read,
            failed=self._library_unreadable,
        )

    def _library_read(self, models: tuple[Model, ...]) -> None:
        self._reading = False
        self.query_one(Notice).hide()
        if self.models is None and self._highlight is None and (last := listing.last_used(models)):
            self._highlight = last.name
        self.models = models
        if models:
            self.set_timer(_PLANNING_AFTER, self._read_cards)
        if self._stale:
            self._read_library()

    def _library_unreadable(self, error: LocalqError) -> None:
        self._reading = False
        self.query_one(Notice).show_error(error)
        self.query_one("#nothing").display = False

    def watch_models(self) -> None:
        is_empty = self.models is not None and not self.models
        self.set_class(is_empty, "-empty")
        if is_empty and not self.query("Welcome"):
            from localq.tui.widgets.welcome import Welcome

            self.query_one("#list").mount(Welcome(self.context))
        self._list()
        self.refresh_bindings()

    def watch_wanted(self) -> None:
        self._list()

    def watch_sort(self) -> None:
        self._list()

    def watch_grouped(self) -> None:
        self._list()

    def watch_marked(self, marked: frozenset[str]) -> None:
        table = self.query_one(ModelTable)
        table.marked = marked
        table.refresh()
        self._count()
        self.refresh_bindings()

    def _list(self) -> None:
        if self.models is None:
            return
        shown = listing.matching(self.models, self.wanted)
        table = self.query_one(ModelTable)
        table.display = bool(shown)
        table.sorted_by = self.sort
        table.show(listing.listed(shown, self.sort, grouped=self.grouped), self._highlight)
        self._highlight = None
        nothing = self.query_one("#nothing", Static)
        nothing.update(
            tr(
                "No model matches “{wanted}”.  esc clears the filter.",
                wanted=printable(self.wanted),
            )
        )
        nothing.display = bool(self.models) and not shown
        self._describe()
        self._count()
        focused = self.focused
        if shown and (
            focused is None or any(w in focused.ancestors for w in self.query("Welcome"))
        ):
            table.focus()

    def _count(self) -> None:
        if self.models is None:
            return
        shown = listing.matching(self.models, self.wanted)
        if self.marked:
            chosen = [model for model in self.models if model.name in self.marked]
            size = byte_size(sum(model.size_bytes for model in chosen))
            self.set_right(tr("{count} chosen · {size}", count=len(chosen), size=size))
        else:
            self.set_right(_count(shown, self.models))

    def _look_up_memory(self) -> None:
        """What each model that one can see takes here, a few at a time."""
        todo = [
            row.model.name
            for row in self.query_one(ModelTable).rows_in_view
            if row.model.format.is_runnable and row.model.name not in self._fits
        ][:_PLANNED_AT_ONCE]
        if not todo:
            return
        self._fits.update(dict.fromkeys(todo, Text("")))
        fittings = self.context.services.machine.fittings
        self.context.calls.start(
            self,
            lambda say, cancel: fittings(todo, cancel),
            done=self._memory_known,
            failed=lambda error: None,  # the column stays empty: the details say why
        )

    def _read_cards(self) -> None:
        """How good the models were found to be."""
        cards = self.context.services.library.cards

        def known(found: Mapping[Path, QualityCard]) -> None:
            self._cards.clear()
            self._cards.update(found)
            self.query_one(ModelTable).refresh()

        self.context.calls.start(
            self, lambda say, cancel: cards(), done=known, failed=self.complain
        )

    def _memory_known(self, found: Mapping[str, Fitting]) -> None:
        for name, fitting in found.items():
            mark, style = ("✓", "dim") if fitting.fits else ("✗", "bold")
            self._fits[name] = Text(f"{mark} {byte_size(fitting.bytes)}", style)
        self.query_one(ModelTable).refresh()
        self._look_up_memory()

    @on(Table.Moved)
    def _describe(self) -> None:
        panel = self.query_one(DetailsPanel)
        model = self.query_one(ModelTable).model
        if self._planning is not None:
            self._planning.stop()
        self._planning = self.set_timer(_PLANNING_AFTER, self._look_up_memory)
        if model is not None:
            group = listing.base(model)
            panel.same_base = [m for m in self.models or () if listing.base(m) == group]
        panel.model = model

    @on(Table.SortAsked)
    def _sort_by(self, message: Table.SortAsked) -> None:
        self.sort = message.sort

    @on(Table.Selected)
    def _selected(self) -> None:
        self.action_chat()

    def on_welcome_chosen(self, message: Welcome.Chosen) -> None:
        if message.choice is None:
            self.get_demo()
        else:
            self.get_ready(message.choice.repo, message.choice.parameters)

    # --- what is shown ---

    def action_details(self) -> None:
        """Show the details where there was no room for them, or hide them again."""
        self.toggle_class("-details")

    def action_page(self, by: int) -> None:
        self.query_one(DetailsPanel).turn(by)

    def action_context(self, by: int) -> None:
        self.query_one(DetailsPanel).change_context(by)

    def action_sort(self) -> None:
        names = list(listing.SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]

    def action_group(self) -> None:
        self.grouped = not self.grouped

    def action_mark(self) -> None:
        table = self.query_one(ModelTable)
        if table.model is not None:
            self.marked = self.marked ^ {table.model.name}
            table.action_move(1)

    def action_mark_all(self) -> None:
        shown = {row.model.name for row in self.query_one(ModelTable).rows}
        self.marked = frozenset() if shown <= self.marked else self.marked | shown

    async def action_filter(self) -> None:
        if not self.query("#filter"):
            field = Input(
                placeholder=tr("name, type, architecture, tag or note"), id="filter", compact=True
            )
            await self.query_one("#list").mount(field)
        self.filtering = True
        self.query_one("#filter").focus()

    def action_clear(self) -> None:
        if self.filtering:
            self.query_one("#filter", Input).value = ""
            self.filtering = False
            self.query_one(ModelTable).focus()
        else:
            self.marked = frozenset()

    def watch_filtering(self, filtering: bool) -> None:
        self.set_class(filtering, "-filtering")
        self.refresh_bindings()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self.wanted = event.value

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.filtering = bool(self.wanted)
        self.query_one(ModelTable).focus()

    # --- for the actions ---

    @property
    def current(self) -> Model | None:
        return self.query_one(ModelTable).model

    @property
    def chosen(self) -> list[Model]:
        """The models that are marked; the one under the cursor where none is."""
        marked = [model for model in self.models or () if model.name in self.marked]
        return marked or ([self.current] if self.current else [])

    @property
    def all_models(self) -> Sequence[Model]:
        return self.models or ()

    def changed(self) -> None:
        self.marked = frozenset()
        self._read_library()


_OF_MODELS = frozenset(
    (
        *("filter", "sort", "group", "mark", "mark_all", "page", "context", "details", "chat"),
        *(
            "quantize",
            "remove",
            "verify",
            "bench",
            "tune",
            "plan",
            "copy_path",
            "export",
            "alias",
            "tags",
        ),
        "note",
    )
)
"""Actions that need a model."""


def _count(shown: Sequence[Model], models: Sequence[Model]) -> str:
    if len(shown) < len(models):
        text = tr("{shown} of {count} models", shown=len(shown), count=len(models))
    elif len(models) == 1:
        text = tr("1 model")
    else:
        text = tr("{count} models", count=len(models))
    if not shown:
        return text
    return f"{text} · {byte_size(sum(model.size_bytes for model in shown))}"
