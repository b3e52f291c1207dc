"""The library: the models of this machine, and what can be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.tui import listing, strings
from localq.tui.context import AppContext
from localq.tui.jobs import JobListener
from localq.tui.screens.chat import ChatScreen
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.screens.pull import PullDialog
from localq.tui.screens.quantize import QuantizeDialog
from localq.tui.widgets.details_panel import DetailsPanel
from localq.tui.widgets.empty_library import EmptyLibrary
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.model_table import ModelTable
from localq.tui.widgets.notice import Notice
from localq.tui.widgets.title_bar import TitleBar

if TYPE_CHECKING:
    from localq.library.model import Model, Removed
    from localq.services.make.quantize import QuantizeResult
    from localq.services.pull.pull import PullResult

__all__ = ["LibraryScreen"]

_DEMO = "demo"


class LibraryScreen(JobListener, Screen[None]):
    AUTO_FOCUS = "ModelTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quantize", strings.KEY_QUANTIZE),
        Binding("p", "pull", strings.KEY_PULL),
        Binding("t", "pull_demo", strings.KEY_PULL_DEMO),
        Binding("o", "pull_other", strings.KEY_PULL_OTHER),
        Binding("d,delete", "delete", strings.KEY_DELETE),
        Binding("slash", "filter", strings.KEY_FILTER, key_display="/"),
        Binding("escape", "clear_filter", strings.KEY_CLEAR_FILTER),
        Binding("question_mark", "app.help", strings.KEY_HELP, key_display="?"),
        Binding("r", "refresh", strings.KEY_REFRESH),
        Binding("i", "details", strings.KEY_DETAILS, show=False),
    ]

    models: reactive[tuple[Model, ...] | None] = reactive(None, always_update=True)
    """None until the library was read."""
    wanted: reactive[str] = reactive("")
    """What the filter asks for."""
    filtering: reactive[bool] = reactive(False)
    """Whether the filter is there to be typed into."""

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self._highlight: str | None = None
        """The model to put the cursor on once it is listed."""

    def compose(self) -> ComposeResult:
        yield TitleBar(Text(strings.APP, style="bold"))
        with Container(id="columns"):
            with Vertical(id="list") as box:
                box.border_title = strings.LIBRARY_TITLE
                yield Notice()
                yield ModelTable(self.context.clock.now)
                yield Static(strings.LIBRARY_LOADING, id="nothing", markup=False)
                yield EmptyLibrary(self.context)
                yield Input(placeholder=strings.FILTER_PLACEHOLDER, id="filter", compact=True)
            yield DetailsPanel(self.context)
        yield KeyBar()

    def on_mount(self) -> None:
        self._read_library()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pull_demo", "pull_other"):
            return self._is_empty
        if action in ("quantize", "delete", "details"):
            return not self._is_empty
        if action == "filter":
            return not self._is_empty and not isinstance(self.focused, Input)
        if action == "clear_filter":
            return self.filtering
        return True

    # --- the models ---

    def action_refresh(self) -> None:
        self._read_library()

    def _read_library(self, highlight: str | None = None) -> None:
        self._highlight = highlight or self._highlight
        models = self.context.services.models
        self.context.jobs.start(
            self,
            lambda say, cancel: tuple(models()),
            done=self._library_read,
            failed=self._library_unreadable,
        )

    def _library_read(self, models: tuple[Model, ...]) -> None:
        self.query_one(Notice).hide()
        if self.models is None and self._highlight is None and (last := listing.last_used(models)):
            self._highlight = last.name
        self.models = models

    def _library_unreadable(self, error: LocalqError) -> None:
        self.query_one(Notice).show_error(error)
        self.query_one("#nothing").display = False

    @property
    def _is_empty(self) -> bool:
        return self.models is not None and not self.models

    def watch_models(self) -> None:
        self.set_class(self._is_empty, "-empty")
        if self._is_empty:
            self.query_one(EmptyLibrary).look()
        self._list()
        self.refresh_bindings()

    def watch_wanted(self) -> None:
        self._list()

    def _list(self) -> None:
        if self.models is None:
            return
        shown = listing.matching(self.models, self.wanted)
        table = self.query_one(ModelTable)
        table.display = bool(shown)
        table.show(shown, self._highlight)
        self._highlight = None
        nothing = self.query_one("#nothing", Static)
        nothing.update(strings.NO_MATCH.format(printable(self.wanted)))
        nothing.display = bool(self.models) and not shown
        self.query_one(DetailsPanel).model = table.current
        self.query_one(TitleBar).set_right(Text(_count(shown, self.models)))
        if shown and self.focused is None:
            table.focus()

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.query_one(DetailsPanel).model = self.query_one(ModelTable).current

    def action_details(self) -> None:
        """Show the details where there was no room for them, or hide them again."""
        self.toggle_class("-details")

    # --- the filter ---

    def action_filter(self) -> None:
        self.filtering = True
        self.query_one("#filter").focus()

    def action_clear_filter(self) -> None:
        self.query_one("#filter", Input).value = ""
        self.filtering = False
        self.query_one(ModelTable).focus()

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

    # --- what can be done ---

    @on(DataTable.RowSelected)
    def _chat(self) -> None:
        model = self.query_one(ModelTable).current
        if model is None or self.models is None:
            return
        if model.format.is_runnable:
            runnable: Model | None = model
        else:
            runnable = listing.last_used(listing.made_of(self.models, model))
        if runnable is None:
            told = strings.CHECKPOINT_CANNOT_CHAT.format(printable(model.name))
            self.notify(told, severity="warning", markup=False)
            return
        self.app.push_screen(ChatScreen(self.context, runnable), lambda _: self._read_library())

    def action_quantize(self) -> None:
        model = self.query_one(ModelTable).current
        if model is None or self.models is None:
            return
        made = {other.quant for other in listing.made_of(self.models, model)}
        source = listing.origin(self.models, model)
        self.app.push_screen(QuantizeDialog(self.context, source, made), self._quantized)

    def _quantized(self, result: QuantizeResult | None) -> None:
        if result is not None and result.name is not None:
            self.notify(strings.READY.format(printable(result.name)), markup=False)
            self._read_library(result.name)

    def action_pull(self) -> None:
        choices = self.query_one(EmptyLibrary).choices
        first = choices[0].repo if self._is_empty and choices else None
        self._pull(at_once=first)

    def action_pull_demo(self) -> None:
        self._pull(at_once=_DEMO)

    def action_pull_other(self) -> None:
        self._pull(at_once=None)

    def _pull(self, at_once: str | None) -> None:
        choices = self.query_one(EmptyLibrary).choices
        dialog = PullDialog(self.context, choices or None, at_once=at_once)
        self.app.push_screen(dialog, self._pulled)

    def _pulled(self, result: PullResult | None) -> None:
        if result is not None:
            told = strings.ALREADY_THERE if result.already_there else strings.READY
            self.notify(told.format(printable(result.model.name)), markup=False)
            self._read_library(result.model.name)

    def action_delete(self) -> None:
        model = self.query_one(ModelTable).current
        if model is None:
            return
        question = ConfirmDialog(
            strings.DELETE_TITLE,
            _delete_question(model),
            yes=strings.ANSWER_DELETE,
            no=strings.ANSWER_KEEP,
        )
        self.app.push_screen(question, lambda agreed: self._delete(model) if agreed else None)

    def _delete(self, model: Model) -> None:
        remove = self.context.services.remove
        self.context.jobs.start(
            self,
            lambda say, cancel: remove(model.name),
            done=self._deleted,
            failed=self._complain,
        )

    def _deleted(self, removed: Removed) -> None:
        name = printable(removed.model.name)
        if removed.trash_id is None:
            self.notify(strings.FORGOTTEN.format(name), markup=False)
        else:
            frees = byte_size(removed.frees_bytes)
            self.notify(strings.REMOVED.format(name, frees), markup=False)
        self._read_library()

    def _complain(self, error: LocalqError) -> None:
        self.query_one(Notice).show_error(error)


def _count(shown: Sequence[Model], models: Sequence[Model]) -> str:
    if len(shown) < len(models):
        text = strings.SHOWN_OF.format(len(shown), len(models))
    elif len(models) == 1:
        text = strings.ONE_MODEL
    else:
        text = strings.MANY_MODELS.format(len(models))
    if not shown:
        return text
    return f"{text} · {byte_size(sum(model.size_bytes for model in shown))}"


def _delete_question(model: Model) -> Text:
    text = Text(overflow="fold")
    question = strings.FORGET_QUESTION if model.external else strings.DELETE_QUESTION
    text.append(question.format(printable(model.name)), "bold")
    text.append("\n\n")
    frees = strings.DELETE_FREES.format(byte_size(model.size_bytes))
    text.append(strings.FORGET_LEAVES if model.external else frees)
    return text.append(f"\n{printable(str(model.path))}", "dim")
