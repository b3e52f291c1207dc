"""The table of models. Columns that do not fit are left out; the names get what room is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from localq.display import age, byte_size, printable, short_count
from localq.tui import strings
from localq.tui.text import elide

if TYPE_CHECKING:
    from localq.library import Model

__all__ = ["ModelTable"]

_NAME_WIDTH = 24
"""Names are not squeezed below this to make room for a column."""
_PADDING = 2


@dataclass(frozen=True, slots=True)
class _Column:
    label: str
    width: int
    value: Callable[[Model, float], str]
    right: bool = False


# In the order they appear; `_KEEP_ORDER` is the order in which they earn their place.
_QUANT = _Column(strings.COLUMN_QUANT, 6, lambda model, now: printable(model.quant))
_SIZE = _Column(strings.COLUMN_SIZE, 8, lambda model, now: byte_size(model.size_bytes), right=True)
_PARAMETERS = _Column(
    strings.COLUMN_PARAMETERS,
    6,
    lambda model, now: short_count(model.parameters),
    right=True,
)
_USED = _Column(strings.COLUMN_USED, 10, lambda model, now: age(model.used_at, now))
_COLUMNS = (_QUANT, _SIZE, _PARAMETERS, _USED)
_KEEP_ORDER = (_QUANT, _SIZE, _USED, _PARAMETERS)


class ModelTable(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", strings.KEY_CHAT, key_display="↵"),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("g,home", "scroll_top", show=False),
        Binding("G,end", "scroll_bottom", show=False),
    ]

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(cursor_type="row", show_row_labels=False)
        self._now = now
        self._models: list[Model] = []
        self._last: str | None = None
        """The model the cursor was on last; it may be filtered out for a while."""

    @property
    def current(self) -> Model | None:
        """The model under the cursor."""
        return self._models[self.cursor_row] if 0 <= self.cursor_row < len(self._models) else None

    def show(self, models: Sequence[Model], highlight: str | None = None) -> None:
        """List `models`, the cursor on the one named `highlight`, or on the one it was on."""
        if self.current is not None:
            self._last = self.current.name
        wanted = highlight or self._last
        row = self.cursor_row
        self._models = list(models)
        for index, model in enumerate(self._models):
            if model.name == wanted:
                row = index
        self._fill(row)

    def on_resize(self, event: events.Resize) -> None:
        self._fill(self.cursor_row)

    def _fill(self, row: int) -> None:
        available = self.scrollable_content_region.width
        columns, name_width = _fitting(available)
        now = self._now()
        # The rows come and go under the cursor; only where it ends up is news.
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            self.add_column(Text(strings.COLUMN_NAME), width=name_width)
            for column in columns:
                label = Text(column.label, justify="right" if column.right else "left")
                self.add_column(label, width=column.width)
            for name, model in zip(_names(self._models, name_width), self._models, strict=True):
                cells = [
                    Text(
                        elide(column.value(model, now), column.width),
                        justify="right" if column.right else "left",
                        style="" if column is _QUANT else "dim",
                    )
                    for column in columns
                ]
                self.add_row(name, *cells, key=model.name)
            self.move_cursor(row=min(max(row, 0), max(len(self._models) - 1, 0)))


def _fitting(available: int) -> tuple[list[_Column], int]:
    """The columns that fit into `available` cells, and what is left for the names."""
    left = available - _PADDING
    kept = []
    for column in _KEEP_ORDER:
        if left - column.width - _PADDING < _NAME_WIDTH:
            break
        left -= column.width + _PADDING
        kept.append(column)
    return [column for column in _COLUMNS if column in kept], max(left, 1)


def _names(models: Sequence[Model], width: int) -> list[Text]:
    """The names without their types, which have a column; without owners if any is too long."""
    parts = [_split(model) for model in models]
    with_owner = [Text.assemble((owner, "dim"), base) for owner, base in parts]
    if all(name.cell_len <= width for name in with_owner):
        return with_owner
    return [Text(elide(base, width)) for _, base in parts]


def _split(model: Model) -> tuple[str, str]:
    owner, slash, name = printable(model.name).rpartition("/")
    return owner + slash, name.removesuffix(f":{printable(model.quant)}")
