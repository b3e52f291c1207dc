"""What the library shows before it has a model: three that fit this machine, and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localq.errors import LocalqError
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.choice_text import choice_option

if TYPE_CHECKING:
    from localq.services.pull.pull import Choice

__all__ = ["Welcome"]

_OFFERED = 3


class Welcome(CallListener, Container):
    DEFAULT_CSS = """
    Welcome {
        align: center middle;
        Vertical { width: 70; max-width: 100%; height: auto; padding: 0 1; }
        Static { height: auto; }
        ChoiceList { height: auto; border: none; padding: 0; margin: 1 0; background: $surface; }
        ChoiceList:focus { border: none; background-tint: transparent; }
    }
    """

    class Chosen(Message):
        """`choice` is to be got; None: the demo."""

        def __init__(self, choice: Choice | None) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.offered: Sequence[Choice] = ()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(tr("Welcome to localq"), "bold"))
            yield Static(tr("Looking for models that fit this machine…"), id="about")
            yield ChoiceList()
            yield Static(
                Text(
                    tr("↵ gets the chosen one, ready to talk to. Other models: p, or 2 to search."),
                    "dim",
                ),
                id="hint",
            )

    def on_mount(self) -> None:
        choices = self.context.services.hub.choices
        self.context.calls.start(
            self,
            lambda say, cancel: choices(),
            done=self._offer,
            failed=self._offer_the_demo,
        )

    def _offer(self, choices: Sequence[Choice]) -> None:
        self.offered = choices[:_OFFERED]
        options = self.query_one(ChoiceList)
        options.clear_options()
        options.add_options(Option(choice_option(choice)) for choice in self.offered)
        demo = Text.assemble(
            tr("The demo"),
            "\n",
            (tr("a very small story teller to try things with; needs no network"), "dim"),
        )
        options.add_option(Option(demo))
        options.highlighted = 0
        options.refresh(layout=True)  # it may not have been laid out yet
        about = (
            tr("No models yet. These fit this machine:")
            if choices
            else tr("No models yet. The demo shows how everything works:")
        )
        self.query_one("#about", Static).update(about)
        # Not before the table of models, which had the focus, is hidden.
        self.call_after_refresh(self._take_focus)

    def _take_focus(self) -> None:
        if self.display and not isinstance(self.screen.focused, ChoiceList):
            self.query_one(ChoiceList).focus()

    def _offer_the_demo(self, error: LocalqError) -> None:
        self._offer(())

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        chosen = (
            self.offered[event.option_index] if event.option_index < len(self.offered) else None
        )
        self.post_message(self.Chosen(chosen))
