"""The quantize dialog: one type out of a short list, then the work."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.types import CSSPathType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localq.display import byte_size, printable
from localq.tui import listing, strings
from localq.tui.context import AppContext
from localq.tui.jobs import Say
from localq.tui.quant_choices import CHOICES, QuantChoice
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.screens.job_dialog import JobDialog
from localq.tui.widgets.choice_list import ChoiceList
from localq.tui.widgets.job_progress import JobProgressBar
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

if TYPE_CHECKING:
    from localq.formats.types import QuantType
    from localq.library import Model
    from localq.services.make.quantize import QuantizeResult

__all__ = ["QuantizeDialog"]

_MARK, _NAME, _BITS, _SIZE = 2, 8, 5, 10
"""Column widths in cells."""


class QuantizeDialog(JobDialog["QuantizeResult"]):
    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "quantize.tcss"]
    AUTO_FOCUS = "OptionList"
    STOP_QUESTION = strings.QUANTIZE_STOP
    STOPPED_JOB = strings.QUANTIZE_STOPPED_JOB

    def __init__(self, context: AppContext, source: Model, made: Collection[str]) -> None:
        """`made`: the types of this model that the library has already."""
        super().__init__(context)
        self._source = source
        self._made = made

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = strings.QUANTIZE_TITLE
            yield Static(_source_line(self._source), id="source")
            yield Static(_header(), id="columns", classes="choosing")
            yield ChoiceList(classes="choosing")
            if self._made:
                yield Static(strings.MADE, id="legend", classes="choosing", markup=False)
            yield Notice()
            yield JobProgressBar(self.context.clock.ticks)
        yield KeyBar()

    def on_mount(self) -> None:
        types = self.query_one(ChoiceList)
        for choice in CHOICES:
            made = choice.type.name in self._made
            types.add_option(Option(_prompt(choice, self._estimate(choice), made)))
        types.highlighted = next(i for i, choice in enumerate(CHOICES) if choice.recommended)
        sizes, name = self.context.services.sizes, self._source.name
        self.context.jobs.start(
            self,
            lambda say, cancel: sizes(name),
            done=self._show_sizes,
            failed=lambda error: None,  # the estimates stay, and say that they are some
        )

    def _estimate(self, choice: QuantChoice) -> str:
        return f"~{byte_size(choice.estimated_bytes(self._source.parameters))}"

    def _show_sizes(self, sizes: Mapping[QuantType, int]) -> None:
        types = self.query_one(ChoiceList)
        for index, choice in enumerate(CHOICES):
            if (exact := sizes.get(choice.type)) is not None:
                made = choice.type.name in self._made
                prompt = _prompt(choice, byte_size(exact), made)
                types.replace_option_prompt_at_index(index, prompt)

    def focus_choice(self) -> None:
        self.query_one("#source", Static).update(_source_line(self._source))
        self.query_one(ChoiceList).focus()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        choice = CHOICES[event.option_index]
        if choice.type.name not in self._made:
            self._start(choice, replace=False)
            return
        name = f"{listing.base(self._source)}:{choice.type.name}"
        question = ConfirmDialog(
            strings.REPLACE_TITLE,
            Text(strings.QUANTIZE_REPLACE.format(printable(name))),
            yes=strings.ANSWER_REPLACE,
            no=strings.ANSWER_KEEP,
        )
        self.ask(question, lambda: self._start(choice, replace=True))

    def _start(self, choice: QuantChoice, *, replace: bool) -> None:
        quantize, name = self.context.services.quantize, self._source.name

        def work(say: Say, cancel: threading.Event) -> QuantizeResult:
            return quantize(name, choice.type, replace, say, cancel)

        self.query_one("#source", Static).update(_work_line(self._source, choice))
        self.begin(work)


def _source_line(model: Model) -> Text:
    return Text.assemble(
        (printable(model.name), "bold"),
        (f"  {printable(model.quant)} · {byte_size(model.size_bytes)}", "dim"),
        overflow="fold",
    )


def _work_line(model: Model, choice: QuantChoice) -> Text:
    name = listing.base(model)
    return Text.assemble(
        (printable(name), "bold"), " → ", (choice.type.name, "bold"), overflow="fold"
    )


def _header() -> Text:
    return Text(
        f"{'':{_MARK}}{strings.QUANT_TYPE:<{_NAME}}{strings.QUANT_BITS:>{_BITS}}{strings.QUANT_SIZE:>{_SIZE}}"
        f"   {strings.QUANT_ABOUT}",
        style="dim",
    )


def _prompt(choice: QuantChoice, size: str, made: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{strings.MADE[0] if made else '':{_MARK}}")
    text.append(f"{choice.type.name:<{_NAME}}", "bold" if choice.recommended else "")
    text.append(f"{choice.bits:>{_BITS}.1f}{size:>{_SIZE}}   ")
    return text.append(choice.about, "" if choice.recommended else "dim")
