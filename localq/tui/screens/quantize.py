"""The quantize dialog: the ladder of one model's types, with what each takes; then a job."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Input, Static

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui import listing
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.text import tr
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.ladder import Ladder
from localq.tui.widgets.notice import Notice
from localq.tui.widgets.table import Table

if TYPE_CHECKING:
    from localq.library import Model
    from localq.services.fit.fit import FitResult, FitRow

__all__ = ["QuantizeDialog", "Wanted", "request_of"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the dialog's fields say, as they were typed."""

    model: str
    type: str
    replace: bool = False
    imatrix: str = ""
    rules: str = ""
    split: str = ""


def request_of(wanted: Wanted) -> object:
    """The request of a job; LocalqError where a field makes no sense."""
    from localq.formats.types import QuantType
    from localq.quantize.options import parse_type_rule
    from localq.services.make.quantize_request import QuantizeRequest
    from localq.services.make.split_size import parse_split_size

    return QuantizeRequest(
        QuantType.parse(wanted.type),
        model=wanted.model,
        force=wanted.replace,
        imatrix=Path(wanted.imatrix).expanduser() if wanted.imatrix else None,
        rules=tuple(map(parse_type_rule, wanted.rules.replace(",", " ").split())),
        split_bytes=parse_split_size(wanted.split) if wanted.split else None,
    )


class QuantizeDialog(CallListener, ModalScreen[Callable[[], object]]):
    """Dismissed with what makes the request of the job."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "quantize.tcss"]
    AUTO_FOCUS = "Ladder"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "every", msg("All types")),
        Binding("a", "advanced", msg("Advanced")),
        Binding("escape", "close", msg("Close")),
    ]

    def __init__(self, context: AppContext, source: Model, made: Collection[str]) -> None:
        """`made`: the types of this model that the library has already."""
        super().__init__()
        self.context = context
        self._source = source
        self._made = made
        self._result: FitResult | None = None
        self._every = False
        self._checking = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = tr("Quantize")
            yield Static(_source_line(self._source), id="source")
            yield Notice()
            yield Static(tr("Reading the headers…"), id="reason", markup=False)
            yield Ladder(self._blocked, self._note)
            with Vertical(id="advanced"):
                yield Input(placeholder=tr("importance matrix: a file"), id="imatrix", compact=True)
                yield Input(
                    placeholder=tr("types of single tensors: attn_v=q6_k, output=q8_0"),
                    id="rules",
                    compact=True,
                )
                yield Input(placeholder=tr("files of at most: 4G, 500M"), id="split", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        self._read()

    def _read(self) -> None:
        ladder, name, every = self.context.services.hub.ladder, self._source.name, self._every
        self.context.calls.start(
            self,
            lambda say, cancel: ladder(name, cancel, every=every),
            done=self._show,
            failed=self._cannot,
        )

    def _show(self, result: FitResult) -> None:
        self._result = result
        reason = tr("recommended: {type}", type=result.recommended) if result.recommended else ""
        told = f"★ {reason} · {printable(result.reason)}" if reason else printable(result.reason)
        self.query_one("#reason", Static).update(Text(told, overflow="fold"))
        self.query_one(Ladder).show(result.rows, result.recommended)

    def _cannot(self, error: LocalqError) -> None:
        self._checking = False
        self.query_one("#reason", Static).display = self._result is not None
        self.query_one(Notice).show_error(error)

    def _blocked(self, row: FitRow) -> str | None:
        if self._source.format.is_file and row.quant == self._source.quant:
            return tr("what it is already")
        if row.needs_imatrix and not self._field("imatrix"):
            return tr("needs an importance matrix (a)")
        return None

    def _note(self, row: FitRow) -> str:
        return tr("✓ in the library") if row.quant in self._made else ""

    def _field(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one(Ladder).refresh()

    @on(Input.Submitted)
    def _typed(self) -> None:
        self.query_one(Ladder).focus()

    @on(Table.Selected)
    def _chosen(self) -> None:
        row = self.query_one(Ladder).current
        if row is None or self._checking:
            return
        if why := self._blocked(row):
            self.query_one(Notice).show_remark(f"{row.quant}: {why}")
            return
        if row.quant not in self._made:
            self._check(row, replace=False)
            return
        name = f"{listing.base(self._source)}:{row.quant}"
        question = ConfirmDialog(
            tr("Replace"),
            Text(tr("{name} is in the library already. Make it again?", name=printable(name))),
            yes=tr("Make it again"),
        )
        self.app.push_screen(
            question, lambda answer: self._check(row, replace=True) if answer == "yes" else None
        )

    def _check(self, row: FitRow, *, replace: bool) -> None:
        """What makes no sense is said here, where it can be mended."""
        wanted = Wanted(
            self._source.name,
            row.quant,
            replace,
            self._field("imatrix"),
            self._field("rules"),
            self._field("split"),
        )
        self._checking = True
        self.context.calls.start(
            self,
            lambda say, cancel: request_of(wanted),
            done=lambda request: self.dismiss(lambda: request),
            failed=self._cannot,
        )

    def action_every(self) -> None:
        """All types, or only the usual ones."""
        self._every = not self._every
        self._read()

    def action_advanced(self) -> None:
        self.toggle_class("-advanced")
        if self.has_class("-advanced"):
            self.query_one("#imatrix").focus()
        else:
            self.query_one(Ladder).focus()

    def action_close(self) -> None:
        self.dismiss(None)


def _source_line(model: Model) -> Text:
    return Text.assemble(
        (printable(model.name), "bold"),
        (f"  {printable(model.quant)} · {byte_size(model.size_bytes)}", "dim"),
        overflow="fold",
    )
