"""Using a model elsewhere: a text for each program, to be copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localq.display import printable, printable_lines
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

if TYPE_CHECKING:
    from localq.library import Model
    from localq.tui.snippets import Snippet

__all__ = ["SnippetDialog"]


class _Snippets(ChoiceList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "select", msg("Copy"), key_display="↵")
    ]


class SnippetDialog(CallListener, ModalScreen[None]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "snippets.tcss"]
    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", msg("Close"), key_display="esc")
    ]

    def __init__(self, context: AppContext, model: Model) -> None:
        super().__init__()
        self.context = context
        self._model = model
        self._snippets: list[Snippet] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("Use it elsewhere")
            yield Static(Text(printable(self._model.name), "bold"))
            yield Notice()
            yield _Snippets()
            with VerticalScroll(id="text", can_focus=False):
                yield Static(id="snippet", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        snippets, model = self.context.services.machine.snippets, self._model
        self.context.calls.start(
            self,
            lambda say, cancel: snippets(model, cancel),
            done=self._show,
            failed=self._cannot,
        )

    def _show(self, snippets: list[Snippet]) -> None:
        self._snippets = snippets
        options = self.query_one(_Snippets)
        options.add_options(Option(name) for name, _ in snippets)
        options.highlighted = 0
        options.refresh(layout=True)  # it may not have been laid out yet

    def _cannot(self, error: LocalqError) -> None:
        self.query_one(Notice).show_error(error)

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        text = self._snippets[event.option_index][1]
        self.query_one("#snippet", Static).update(Text(printable_lines(text), overflow="fold"))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        name, text = self._snippets[event.option_index]
        self.app.copy_to_clipboard(text)
        self.dismiss()
        self.app.notify(tr("Copied: {text}", text=name), markup=False)
