"""A turn as lines of cells: its head, what it carries, what it says."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from localq.chat_format.blocks import BlockSplitter, blocks_of
from localq.tui.chat.painter import Painter
from localq.tui.chat.turn import Kind, Turn
from localq.tui.text import elide, tr

__all__ = ["FOLD", "GrowingTurn", "guessed_height", "turn_lines"]

FOLD = "fold"
"""Cells with this name fold what was thought, or unfold it."""
_CURSOR = "▍"
_THOUGHT_SHOWN = 3
"""Lines of what is thought right now."""


class GrowingTurn:
    """A reply that is being written."""

    def __init__(self, speaker: str) -> None:
        self.speaker = speaker
        self.thought = ""
        self._said = BlockSplitter()
        self._texts: list[str] = []

    def grow(self, text: str, *, thought: bool) -> None:
        if thought:
            self.thought += text
        else:
            self._said.feed(text)
            self._texts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def lines(self, width: int, painter: Painter, *, unfolded: bool) -> list[Strip]:
        palette = painter.palette
        lines = [_head(self.speaker, "", palette.reply, width, palette.muted)]
        growing = self._said.growing
        said = painter.blocks(self._said.finished, width)
        if growing is not None:
            if said and not growing.goes_on:
                said.append(Strip.blank(0))
            said += painter.block(growing, width)
        if self.thought:
            lines += _thought(self.thought, width, painter, unfolded=unfolded, going_on=not said)
        if said:
            said[-1] = _with_cursor(said[-1], width)
        return [*lines, *(said or [Strip([Segment(_CURSOR)])]), Strip.blank(0)]


def turn_lines(turn: Turn, width: int, painter: Painter, *, unfolded: bool) -> list[Strip]:
    """With an empty line at the end."""
    palette = painter.palette
    match turn.kind:
        case Kind.INTRODUCTION:
            return painter.text(turn.text, width, palette.muted)
        case Kind.REMARK:
            return [*_marked("! ", palette.warning, turn.text, width, painter), Strip.blank(0)]
        case Kind.ERROR:
            return [*_marked("✗ ", palette.error, turn.text, width, painter), Strip.blank(0)]
    style = {Kind.USER: palette.user, Kind.REPLY: palette.reply}.get(turn.kind, palette.muted)
    lines = [_head(turn.speaker, turn.notes, style, width, palette.muted)]
    for file in turn.files:
        lines.append(Strip([Segment(elide(f"▤ {file}", width), palette.muted)]))
    if turn.thought.strip():
        lines += _thought(turn.thought, width, painter, unfolded=unfolded, going_on=False)
    text = turn.text.strip("\n")
    if text and turn.kind is Kind.REPLY:
        lines += painter.blocks(blocks_of(text), width)
    elif text:
        lines += painter.text(text, width, None if turn.kind is Kind.USER else palette.muted)
    for call in turn.calls:
        lines += _marked("→ ", palette.code, call, width, painter)
    if turn.end:
        lines += painter.text(turn.end, width, palette.muted + Style(italic=True))
    lines.append(Strip.blank(0))
    if turn.left_out:
        told = tr("what stands above is no longer in the context")
        lines.append(Strip([Segment(_rule(told, width), palette.warning)]))
        lines.append(Strip.blank(0))
    return lines


def guessed_height(text: str, width: int) -> int:
    """About how many lines a message takes, without drawing it."""
    return 2 + text.count("\n") + 1 + len(text) // max(width, 1)


def _head(speaker: str, notes: str, style: Style, width: int, muted: Style) -> Strip:
    name = elide(speaker, width)
    room = width - cell_len(name) - 2
    segments = [Segment(name, style)]
    if notes and room > 4:
        segments += [Segment("  "), Segment(elide(notes, room), muted)]
    return Strip(segments)


def _thought(
    text: str, width: int, painter: Painter, *, unfolded: bool, going_on: bool
) -> list[Strip]:
    muted = painter.palette.muted
    words = tr("thought, {count:,} characters", count=len(text))
    told = tr("thinking…") if going_on else words
    mark = "▾" if unfolded or going_on else "▸"
    style = muted + Style(meta={FOLD: True})
    lines = [Strip([Segment(elide(f"{mark} {told}", width), style)])]
    if unfolded or going_on:
        # Of what is thought right now the end is shown, and only that is drawn.
        shown = text if unfolded else text[-_THOUGHT_SHOWN * width :]
        drawn = painter.text(shown.strip("\n"), width - 2, muted + Style(italic=True))
        if not unfolded:
            drawn = drawn[-_THOUGHT_SHOWN:]
        lines += [Strip([Segment("│ ", muted), *line]) for line in drawn]
    return [*lines, Strip.blank(0)]


def _marked(mark: str, style: Style, text: str, width: int, painter: Painter) -> list[Strip]:
    indent = cell_len(mark)
    lines = painter.text(text, width - indent)
    heads = [Segment(mark, style), *(Segment(" " * indent) for _ in lines[1:])]
    return [Strip([head, *line]) for head, line in zip(heads, lines, strict=True)]


def _with_cursor(line: Strip, width: int) -> Strip:
    """Where the text ends, which is not where the line does: code is filled up to the edge."""
    end = cell_len(line.text.rstrip())
    return Strip([*line.crop(0, min(end, width - 1)), Segment(_CURSOR)])


def _rule(text: str, width: int) -> str:
    room = max(width - cell_len(text) - 2, 0)
    return elide("─" * (room // 2) + f" {text} " + "─" * (room - room // 2), width)
