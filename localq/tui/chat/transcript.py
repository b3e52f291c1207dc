"""The conversation so far: one widget that draws the lines which are seen.

Of a session of any length only the messages near the view are drawn and measured; the heights of
all others are guessed, and put right as they come into view, without moving what is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer

from localq.display import printable
from localq.errors import LocalqError
from localq.messages import msg, translate
from localq.sessions import SessionMessage
from localq.tui.chat.painter import COPY, Painter
from localq.tui.chat.palette import COMPONENTS, Palette
from localq.tui.chat.rows import Rows
from localq.tui.chat.turn import Kind, Turn
from localq.tui.chat.turn_lines import FOLD, GrowingTurn, guessed_height, turn_lines

__all__ = ["Transcript"]

_WIDEST = 100
"""Cells: longer lines are hard to read."""
_GUTTER = 2
_FRAME = 1 / 30
_SHARE = 4
"""A frame that took long makes the next one wait so many times as long."""
_KEPT = 200
"""Messages of which the drawn lines are kept."""
_MOST_COPIED = 20_000
"""Lines of one selection by mouse."""
_WHEEL = 3

Describe = Callable[[SessionMessage], Turn]
Row = Turn | GrowingTurn


class Transcript(ScrollView, can_focus=True):
    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = set(COMPONENTS)
    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        padding: 0;
        background: $surface;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        .transcript--muted { color: $text-muted; }
        .transcript--user { color: $accent; text-style: bold; }
        .transcript--reply { color: $primary; text-style: bold; }
        .transcript--heading { color: $foreground; text-style: bold; }
        .transcript--code { color: $accent; }
        .transcript--quote { color: $text-muted; text-style: italic; }
        .transcript--link { color: $primary; text-style: underline; }
        .transcript--warning { color: $warning; }
        .transcript--error { color: $error; }
        .transcript--bar { color: $primary; text-style: bold; }
        .transcript--panel { background: $panel; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", msg("Message before"), show=False),
        Binding("down,j", "cursor(1)", msg("Next message"), show=False),
        Binding("home", "first", msg("To the beginning"), show=False),
        Binding("end", "last", msg("To the end"), show=False),
        Binding("c,y", "copy_message", msg("Copy")),
        Binding("b", "copy_code", msg("Copy code")),
        Binding("t", "fold", msg("Thoughts"), show=False, tooltip=msg("Show or hide thoughts")),
        Binding("e", "edit", msg("Edit"), tooltip=msg("Say something else in place of it")),
        Binding("left,h", "beside(-1)", msg("Alternative before"), show=False),
        Binding("right,l", "beside(1)", msg("Next alternative"), show=False),
    ]

    cursor: reactive[int | None] = reactive(None)
    """The row that keys are about; None: none is chosen."""

    class Copied(Message):
        def __init__(self, text: str, *, code: bool) -> None:
            super().__init__()
            self.text = text
            self.code = code

    class EditAsked(Message):
        def __init__(self, message_id: int) -> None:
            super().__init__()
            self.message_id = message_id

    class BesideAsked(Message):
        def __init__(self, message_id: int, step: int) -> None:
            super().__init__()
            self.message_id = message_id
            self.step = step

    def __init__(self) -> None:
        super().__init__()
        self._messages: Sequence[SessionMessage] = ()
        self._describe: Describe | None = None
        self._tail: list[Row] = []
        self._rows = Rows()
        self._drawn: LRUCache[int, list[Strip]] = LRUCache(_KEPT)
        self._unfolded: set[int] = set()
        self._painter: Painter | None = None
        self._base: Style | None = None
        self._following = True
        self._placing = False
        self._settled_for = Size(0, 0)
        self._frame: Timer | None = None
        self._frame_seconds = 0.0
        self._behind = False
        """Whether something came since the last frame."""
        self._next_code = 0
        self.frames = 0
        """How often a growing reply was drawn."""
        self.drawn = 0
        """How many messages were drawn."""

    # --- what is shown ---

    def show(self, messages: Sequence[SessionMessage], describe: Describe) -> None:
        """All messages of a branch; `describe` is asked for those that come into view. What
        stands after them (`add`) goes. What has not changed stays where it is."""
        same = 0
        for old, new in zip(self._messages, messages, strict=False):
            if old != new:
                break
            same += 1
        same = max(0, same - 1)  # the last may have got a sibling, or be left out now
        self._messages, self._describe, self._tail = messages, describe, []
        width = self._text_width
        self._rows.truncate(same)
        self._rows.extend(guessed_height(m.content, width) for m in messages[same:])
        self._forget_from(same)
        if not messages:
            self._following = True
        if self.cursor is not None:
            self.cursor = min(self.cursor, len(messages) - 1) if messages else None
        self._settle()

    def introduce(self, text: str) -> None:
        """What stands where nothing was said yet, neither by anybody nor by localq."""
        if not self._messages and all(map(_is_introduction, self._tail)):
            self._forget_introduction()
            self.add(Turn(Kind.INTRODUCTION, text=text))

    def add(self, turn: Row) -> None:
        """Something after the last message, which is not in the store yet, or never will be."""
        if any(map(_is_introduction, self._tail)):
            self._forget_introduction()
        self._tail.append(turn)
        self._rows.extend([1])
        self._settle()

    def _forget_introduction(self) -> None:
        self._rows.truncate(0)
        self._tail = []
        self._forget_from(0)

    def remark(self, text: str) -> None:
        self.add(Turn(Kind.REMARK, text=translate(text)))

    def show_error(self, error: LocalqError, hint: str | None = None) -> None:
        text = printable(error.message)
        if hint := hint or error.hint:
            text += f"\n→ {printable(hint)}"
        self.add(Turn(Kind.ERROR, text=text))

    def begin_reply(self, speaker: str) -> GrowingTurn:
        turn = GrowingTurn(printable(speaker))
        self.add(turn)
        return turn

    def grown(self) -> None:
        """The growing reply has more to show: in the next frame, which comes the later the longer
        the last one took."""
        self._behind = True
        if self._frame is None:
            pause = max(_FRAME, _SHARE * self._frame_seconds)
            self._frame = self.set_timer(pause, self._draw_growing)

    def follow(self) -> None:
        """To the end, and stay there."""
        self._following = True
        self._settle()

    def _draw_growing(self) -> None:
        self.frames += 1
        began = time.perf_counter()
        for index, row in enumerate(self._tail, len(self._messages)):
            if isinstance(row, GrowingTurn):
                self._drawn.discard(index)
                self._measure(index)
        self._settle()

        def drawn() -> None:
            self._frame_seconds = time.perf_counter() - began
            self._frame = None
            if self._behind:
                self.grown()

        self._behind = False
        self.call_after_refresh(drawn)

    # --- where everything is ---

    @property
    def _text_width(self) -> int:
        width = self.scrollable_content_region.width
        return max(min(width - 2 * _GUTTER, _WIDEST), 8)

    def _row(self, index: int) -> Row:
        if index < len(self._messages):
            assert self._describe is not None
            return self._describe(self._messages[index])
        return self._tail[index - len(self._messages)]

    def _lines(self, index: int) -> list[Strip]:
        lines = self._drawn.get(index)
        if lines is None:
            self.drawn += 1
            painter = self._paint()
            row = self._row(index)
            unfolded = index in self._unfolded
            if isinstance(row, GrowingTurn):
                lines = row.lines(self._text_width, painter, unfolded=unfolded)
            else:
                lines = turn_lines(row, self._text_width, painter, unfolded=unfolded)
            self._drawn[index] = lines
        return lines

    def _measure(self, index: int) -> int:
        height = len(self._lines(index))
        self._rows.measure(index, height)
        return height

    def _forget_from(self, index: int) -> None:
        for known in [key for key in self._drawn.keys() if key >= index]:  # noqa: SIM118
            self._drawn.discard(known)
        self._unfolded = {row for row in self._unfolded if row < index}

    def _settle(self) -> None:
        """Measure what is in view and around it, and stay where one is."""
        size = self.scrollable_content_region.size
        if not size.width or not size.height:
            return
        if not len(self._rows):
            self._place(0)
            return
        if self._following:
            room = 2 * size.height
            for index in range(len(self._rows) - 1, -1, -1):
                room -= self._measure(index)
                if room <= 0:
                    break
            self._place(self._rows.total)
            return
        line = round(self.scroll_y)
        index = self._rows.at(line)
        offset = line - self._rows.top(index)
        if not self._rows.is_measured(index):
            # One comes to it from below, as a rule: what is under it stays where it is.
            below = self._rows.height(index) - offset
            offset = max(0, self._measure(index) - below)
        room = size.height // 2
        for above in range(index - 1, -1, -1):
            if room <= 0:
                break
            room -= self._measure(above)
        room = size.height * 3 // 2 + offset
        for under in range(index, len(self._rows)):
            if room <= 0:
                break
            room -= self._measure(under)
        self._place(self._rows.top(index) + offset)

    def _place(self, line: int) -> None:
        size = Size(self.scrollable_content_region.width, self._rows.total)
        self._placing = True
        try:
            if size != self.virtual_size:
                self.set_reactive(Transcript.virtual_size, size)  # which lays nothing out anew
                self._scroll_update(size)
            line = min(line, self.max_scroll_y)
            self.scroll_y = self.scroll_target_y = line
        finally:
            self._placing = False
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._placing or round(old_value) == round(new_value):
            return
        self._following = new_value >= self.max_scroll_y
        self._settle()

    def on_resize(self, event: events.Resize) -> None:
        if event.size != self._settled_for:
            if event.size.width != self._settled_for.width:
                self._forget_drawn()
            self._settled_for = event.size
            self._settle()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._painter = self._base = None
        self._drawn.clear()

    def _forget_drawn(self) -> None:
        """Another width: the row at the top stays there."""
        index = self._rows.at(round(self.scroll_y)) if len(self._rows) else 0
        self._drawn.clear()
        width = self._text_width
        guesses = [guessed_height(message.content, width) for message in self._messages]
        self._rows = Rows([*guesses, *(1 for _ in self._tail)])
        if not self._following and len(self._rows):
            self._place(self._rows.top(index))

    # --- drawing ---

    def _paint(self) -> Painter:
        if self._painter is None:
            styles = {
                name.removeprefix("transcript--"): _drawn_with(self.get_component_rich_style(name))
                for name in COMPONENTS
            }
            panel = self.get_component_rich_style("transcript--panel")
            styles["panel"] = Style(bgcolor=panel.bgcolor)
            self._painter = Painter(Palette(**styles, dark=self.app.current_theme.dark))
        return self._painter

    def render_line(self, y: int) -> Strip:
        if (base := self._base) is None:
            base = self._base = self.rich_style  # asks all widgets around this one
        width = self.scrollable_content_region.width
        line = self.scroll_offset.y + y
        if line >= self._rows.total:
            return Strip.blank(width, base)
        index = self._rows.at(line)
        lines = self._lines(index)
        at = line - self._rows.top(index)
        strip = lines[at] if at < len(lines) else Strip.blank(0)
        is_chosen = index == self.cursor and self.has_focus and at < len(lines) - 1
        gutter = Segment("▌ ", self._paint().palette.bar) if is_chosen else Segment(" " * _GUTTER)
        strip = Strip([gutter, *strip]).adjust_cell_length(width)
        if (selection := self.text_selection) is not None:
            strip = self._selected(strip, selection, line)
        return strip.apply_style(base).apply_offsets(0, line)

    def _selected(self, strip: Strip, selection: Selection, line: int) -> Strip:
        if (span := selection.get_span(line)) is None:
            return strip
        start, end = span
        end = strip.cell_length if end == -1 else min(end, strip.cell_length)
        if start >= end:
            return strip
        style = self.screen.get_component_rich_style("screen--selection")
        before, chosen, after = strip.divide([start, end, strip.cell_length])
        return Strip.join([before, chosen.apply_style(style), after])

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else self._rows.total - 1
        texts = []
        for line in range(first, min(last, first + _MOST_COPIED) + 1):
            if line >= self._rows.total or (span := selection.get_span(line)) is None:
                continue
            index = self._rows.at(line)
            lines = self._lines(index)
            at = line - self._rows.top(index)
            text = " " * _GUTTER + (lines[at].text if at < len(lines) else "")
            start, end = span
            texts.append(text[max(start, _GUTTER) : None if end == -1 else end].rstrip())
        return "\n".join(texts), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # --- keys and the mouse ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("copy_message", "copy_code", "fold", "edit", "beside"):
            return bool(self._messages)
        return True

    def on_focus(self) -> None:
        if self.cursor is None and len(self._messages):
            self.cursor = len(self._messages) - 1
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def watch_cursor(self) -> None:
        self._next_code = 0
        self.refresh()

    def action_cursor(self, step: int) -> None:
        if not self._messages:
            return
        at = len(self._messages) if self.cursor is None else self.cursor
        self.cursor = min(max(at + step, 0), len(self._messages) - 1)
        self._show_row(self.cursor)

    def action_first(self) -> None:
        if self._messages:
            self.cursor = 0
            self._following = False
            self._place(0)
            self._settle()

    def action_last(self) -> None:
        if self._messages:
            self.cursor = len(self._messages) - 1
        self.follow()

    def _show_row(self, index: int) -> None:
        """Scroll so far that the row is seen, or its beginning."""
        self._measure(index)
        top, height = self._rows.top(index), self._rows.height(index)
        view = self.scrollable_content_region.height
        line = round(self.scroll_y)
        if top < line or height > view:
            line = top
        elif top + height > line + view:
            line = top + height - view
        self._following = line + view >= self._rows.total
        self._place(line)
        self._settle()

    def page(self, direction: int) -> None:
        view = self.scrollable_content_region.height
        self.scroll_to(y=self.scroll_y + direction * max(view - 1, 1), animate=False)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        event.prevent_default()
        self.scroll_to(y=self.scroll_y + _WHEEL, animate=False)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        event.prevent_default()
        self.scroll_to(y=self.scroll_y - _WHEEL, animate=False)

    def on_click(self, event: events.Click) -> None:
        line = self.scroll_offset.y + event.y
        if line >= self._rows.total:
            return
        index = self._rows.at(line)
        meta = event.style.meta
        if FOLD in meta:
            self._fold(index)
        elif COPY in meta:
            self._copy_code(index, meta[COPY])
        elif index < len(self._messages):
            self.cursor = index

    def action_fold(self) -> None:
        if self.cursor is not None:
            self._fold(self.cursor)

    def _fold(self, index: int) -> None:
        self._unfolded ^= {index}
        self._drawn.discard(index)
        self._measure(index)
        self._following = False
        self._settle()

    def action_copy_message(self) -> None:
        if self.cursor is not None:
            self.post_message(self.Copied(self._messages[self.cursor].content, code=False))

    def action_copy_code(self) -> None:
        """The first code of the message, then the next one, and so on."""
        if self.cursor is not None:
            self._copy_code(self.cursor, self._next_code)
            self._next_code += 1

    def _copy_code(self, index: int, number: int) -> None:
        from localq.chat_format.blocks import code_of

        row = self._row(index)
        codes = code_of(row.text)
        text = codes[number % len(codes)] if codes else ""
        self.post_message(self.Copied(text, code=True))

    def action_edit(self) -> None:
        """The message, or what was said before it."""
        at = self.cursor
        while at is not None and at >= 0:
            if self._messages[at].role == "user":
                self.post_message(self.EditAsked(self._messages[at].id))
                return
            at -= 1

    def action_beside(self, step: int) -> None:
        if self.cursor is not None:
            self.post_message(self.BesideAsked(self._messages[self.cursor].id, step))


def _drawn_with(style: Style) -> Style:
    """Without the background, which is that of whatever it stands on."""
    return Style(color=style.color, bold=style.bold, italic=style.italic, underline=style.underline)


def _is_introduction(row: Row) -> bool:
    return isinstance(row, Turn) and row.kind is Kind.INTRODUCTION
