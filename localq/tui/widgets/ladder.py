"""The ladder of types of one model: exact size, memory, whether it fits, which one to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.binding import Binding

from localq.display import byte_size, printable
from localq.messages import msg
from localq.tui.text import tr
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from localq.services.fit.fit import FitRow

__all__ = ["Ladder", "fit_text"]


class Ladder(Table["FitRow"]):
    """Rows that cannot be taken are drawn dimly; `blocked` says why, None: they can."""

    BINDINGS = [Binding("enter", "select", msg("Start"), key_display="↵")]  # noqa: RUF012

    def __init__(
        self, blocked: Callable[[FitRow], str | None], note: Callable[[FitRow], str]
    ) -> None:
        """`note`: what else is to be said of a type, such as that it is here already."""
        self._blocked = blocked
        self._note = note
        super().__init__(
            (
                Column(msg("Type"), self._type, width=10),
                Column(
                    msg("Bits"),
                    self._dim(lambda row: f"{row.bits_per_weight:.1f}"),
                    width=5,
                    right=True,
                    rank=3,
                ),
                Column(msg("Size"), self._dim(_size), width=9, right=True),
                Column(msg("Memory"), self._dim(_memory), width=9, right=True, rank=1),
                Column(msg("Fit"), self._fit, least=14),
            ),
            lambda row: row.quant,
        )

    def _type(self, row: FitRow, _: int) -> Text:
        if self._blocked(row):
            return Text(printable(row.quant), "dim")
        mark = " ★" if row.recommended else ""
        return Text(f"{printable(row.quant)}{mark}", "bold" if row.recommended else "")

    def _dim(self, value: Callable[[FitRow], str]) -> Callable[[FitRow, int], Text]:
        return lambda row, _: Text(value(row), "dim" if self._blocked(row) else "")

    def _fit(self, row: FitRow, _: int) -> Text:
        if (why := self._blocked(row)) is not None:
            return Text(why, "dim italic")
        note, fit = self._note(row), fit_text(row)
        if not note:
            return fit
        fits = row.where.value != "no"
        return Text(note) if fits else Text.assemble(note, " · ", fit)


def fit_text(row: FitRow) -> Text:
    """Where it runs, or what is lacking."""
    match row.where.value:
        case "gpu":
            return Text("✓ " + tr("on the GPU"))
        case "gpu+cpu":
            return Text(
                "✓ "
                + tr("{layers} of {all} layers on the GPU", layers=row.gpu_layers, all=row.layers)
            )
        case "cpu":
            return Text("✓ " + tr("on the processor"))
    lacking = byte_size(-(row.room_bytes or 0))
    return Text("✗ " + tr("{size} too much", size=lacking), "bold")


def _size(row: FitRow) -> str:
    return ("" if row.exact_size else "≈") + byte_size(row.size_bytes)


def _memory(row: FitRow) -> str:
    return ("" if row.exact_memory else "≈") + byte_size(row.memory_bytes)
