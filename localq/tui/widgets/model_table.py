"""The table of models: a checkpoint with what was made of it below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rich.text import Text
from textual.binding import Binding

from localq.display import age, byte_size, printable, short_count
from localq.messages import msg
from localq.tui.listing import ListedModel
from localq.tui.text import elide
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

    from localq.library import Model
    from localq.quality.cards import QualityCard

__all__ = ["ModelTable"]


class ModelTable(Table[ListedModel]):
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "select", msg("Chat"), key_display="↵"),
    ]

    def __init__(
        self,
        now: Callable[[], float],
        fits: Mapping[str, Text],
        cards: Mapping[Path, QualityCard],
    ) -> None:
        """`fits`: what is known of how the model of a name fits this machine; `cards`: how good
        the file at a path was found to be."""
        super().__init__(
            (
                Column(msg("Name"), _name, least=24, sort="name"),
                Column(msg("Type"), _quant, width=8, sort="type"),
                Column(
                    msg("Size"),
                    lambda row, _: Text(byte_size(row.model.size_bytes), "dim"),
                    width=8,
                    right=True,
                    rank=1,
                    sort="size",
                ),
                Column(
                    msg("Params"),
                    lambda row, _: Text(short_count(row.model.parameters), "dim"),
                    width=6,
                    right=True,
                    rank=4,
                    sort="parameters",
                ),
                Column(
                    msg("Memory"),
                    lambda row, _: fits.get(row.model.name, Text("")),
                    width=10,
                    right=True,
                    rank=2,
                ),
                Column(
                    msg("Quality"),
                    lambda row, _: _quality(cards.get(row.model.path)),
                    width=10,
                    right=True,
                    rank=4,
                    wanted=lambda: bool(cards),
                ),
                Column(
                    msg("Used"),
                    lambda row, _: Text(age(row.model.used_at, now()), "dim"),
                    width=11,
                    rank=3,
                    sort="used",
                ),
                Column(
                    msg("Family"),
                    lambda row, cells: Text(elide(printable(row.model.architecture), cells), "dim"),
                    width=18,
                    rank=6,
                ),
                Column(
                    msg("Tags"),
                    lambda row, cells: Text(elide(", ".join(row.model.tags), cells), "dim"),
                    width=14,
                    rank=5,
                ),
            ),
            lambda row: row.model.name,
        )

    @property
    def model(self) -> Model | None:
        """The model under the cursor."""
        return self.current.model if self.current else None


def _quality(card: QualityCard | None) -> Text:
    """How far it is from what it was made of; where nobody compared them, its perplexity."""
    if card is None:
        return Text("")
    if card.ratio is None:
        return Text(f"ppl {card.perplexity.value:.2f}", "dim")
    return Text(f"{'≈ ' if card.is_lossless else ''}{100 * (card.ratio.value - 1):+.2f} %", "dim")


def _quant(row: ListedModel, cells: int) -> Text:
    return Text(elide(printable(row.model.quant), cells))


def _name(row: ListedModel, cells: int) -> Text:
    """Without its type, which has a column, and without its owner where that is too long."""
    model = row.model
    owner, slash, name = printable(model.name).rpartition("/")
    name = name.removesuffix(f":{printable(model.quant)}")
    if row.below:
        return Text.assemble((" └ " if row.last else " ├ ", "dim"), (elide(name, cells - 3), "dim"))
    text = Text.assemble((owner + slash, "dim"), name)
    return text if text.cell_len <= cells else Text(elide(name, cells))
