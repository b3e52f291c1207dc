"""A table that draws only the rows one can see: a thousand models cost no more than twenty.

Columns that do not fit are left out; one of them takes the room that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from localq.messages import translate
from localq.tui.text import elide, padded

__all__ = ["Column", "Table"]

Row = TypeVar("Row")
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """`width` in cells; 0: what room the others leave, at least `least`. `rank`: of those that do
    not fit, the highest goes first; 0 always stays. `label` is a `msg`. A cell is given the cells
    it has and says in `Text` what stands there; `sort` names the column for who sorts by it."""

    label: str
    cell: Callable[[Row, int], Text]
    width: int = 0
    least: int = 20
    right: bool = False
    rank: int = 0
    sort: str | None = None
    wanted: Callable[[], bool] | None = None
    """Whether there is anything to show in it; None: always."""


class Table(ScrollView, Generic[Row], can_focus=True):
    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor", "table--marked"}
    DEFAULT_CSS = """
    Table {
        height: 1fr;
        background: $surface;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        overflow-x: hidden;
        .table--header { color: $text-muted; }
        .table--marked { background: $panel; }
        .table--cursor {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
        }
        &:focus .table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("enter", "select", show=False),
    ]

    cursor: reactive[int] = reactive(0, always_update=True)

    class Moved(Message):
        """The cursor is on another row, or there are none."""

        def __init__(self, table: Table[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> Table[Any]:
            return self.table

    class Selected(Moved):
        """Enter, or a second click."""

    class SortAsked(Message):
        """A click on a heading."""

        def __init__(self, sort: str) -> None:
            super().__init__()
            self.sort = sort

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], str],
    ) -> None:
        """`key` tells rows apart."""
        super().__init__()
        self.columns = tuple(columns)
        self.rows: Sequence[Row] = ()
        self.marked: frozenset[str] = frozenset()
        """Keys of the rows that are chosen besides the one under the cursor."""
        self.sorted_by: str | None = None
        self._key = key
        self._last: str | None = None
        """The row the cursor was on last; it may be filtered out for a while."""

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    @property
    def rows_in_view(self) -> Sequence[Row]:
        """Those that can be seen now."""
        top = self.scroll_offset.y
        return self.rows[top : top + max(self.size.height - 1, 0)]

    def show(self, rows: Sequence[Row], highlight: str | None = None) -> None:
        """List `rows`, the cursor on the one with the key `highlight`, or on the one it was on."""
        before = self.current
        if before is not None:
            self._last = self._key(before)
        wanted = highlight or self._last
        shown, self.rows = self.rows, rows
        found = next((i for i, row in enumerate(rows) if self._key(row) == wanted), None)
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        self.cursor = self.cursor if found is None else found
        if len(rows) != len(shown):
            self.refresh()
        else:  # as when jobs go on: most rows are what they were
            self.refresh(Region(0, 0, self.size.width, 1))
            self.refresh_rows(i for i, row in enumerate(rows) if row != shown[i])

    def refresh_rows(self, indices: Iterable[int]) -> None:
        """Draw these rows anew, and no others."""
        for index in indices:
            self.refresh_line(index + 1)  # below the heading

    def key_of(self, row: Row) -> str:
        return self._key(row)

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(len(self.rows) - 1, 0))

    def watch_cursor(self, before: int, cursor: int) -> None:
        self._into_view()
        if cursor != before:
            self.refresh_rows((before, cursor))
        if self.is_mounted:
            self.post_message(self.Moved(self))

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self.rows) + 1)
        self._into_view()

    def action_move(self, by: int) -> None:
        self.cursor += by

    def action_page(self, by: int) -> None:
        self.cursor += by * max(self.size.height - 2, 1)

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = len(self.rows)

    def action_select(self) -> None:
        if self.current is not None:
            self.post_message(self.Selected(self))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if event.y == 0:
            if (sort := event.style.meta.get("sort")) is not None:
                self.post_message(self.SortAsked(str(sort)))
            return
        row = event.y - 1 + self.scroll_offset.y
        if row >= len(self.rows):
            return
        again = row == self.cursor and event.chain > 1
        self.cursor = row
        if again:
            self.action_select()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        fitting = self._fitting(width)
        if y == 0:
            text = self._header(fitting)
            return self._strip(text, base + self.get_component_rich_style("table--header"), width)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self.rows):
            return Strip.blank(width, base)
        row = self.rows[index]
        line = Text(" " * 1, end="", no_wrap=True)
        for number, (column, cells) in enumerate(fitting):
            cell = column.cell(row, cells)
            if cell.cell_len > cells:
                cell.truncate(cells, overflow="ellipsis")
            room = " " * (cells - cell.cell_len)
            line.append(" " * _GAP if number else "")
            line.append(room if column.right else "")
            line.append_text(cell)
            line.append("" if column.right else room)
        style = base
        if self._key(row) in self.marked:
            style += self.get_component_rich_style("table--marked")
        if index == self.cursor:
            style += self.get_component_rich_style("table--cursor")
        return self._strip(line, style, width)

    def _header(self, fitting: Sequence[tuple[Column[Row], int]]) -> Text:
        line = Text(" ", end="", no_wrap=True)
        for number, (column, cells) in enumerate(fitting):
            label = translate(column.label)
            if column.sort is not None and column.sort == self.sorted_by:
                label = f"{elide(label, cells - 1)}↓"
            line.append(" " * _GAP if number else "")
            meta = {"sort": column.sort} if column.sort else {}
            line.append(padded(label, cells, right=column.right), Style.from_meta(meta))
        return line

    def _strip(self, text: Text, style: Style, width: int) -> Strip:
        segments = list(Segment.apply_style(text.render(self.app.console), style))
        return Strip(segments).adjust_cell_length(width, style)

    def _fitting(self, width: int) -> list[tuple[Column[Row], int]]:
        """The columns for which there is room, each with its cells."""

        def least(columns: Sequence[Column[Row]]) -> int:
            return sum((c.width or c.least) + _GAP for c in columns)

        kept = [column for column in self.columns if column.wanted is None or column.wanted()]
        while least(kept) > width and any(column.rank for column in kept):
            kept.remove(max(kept, key=lambda column: column.rank))
        left = width - sum(column.width + _GAP for column in kept)
        return [(column, column.width or max(left, 1)) for column in kept]

    def _into_view(self) -> None:
        """Below the heading, which never scrolls."""
        height = max(self.size.height - 1, 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True, immediate=True)
        elif self.cursor >= top + height:
            y = self.cursor - height + 1
            self.scroll_to(y=y, animate=False, force=True, immediate=True)
