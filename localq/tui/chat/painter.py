"""Blocks of Markdown and code as lines of cells."""

from __future__ import annotations

import io
from collections.abc import Iterable

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.markdown import Heading, Markdown
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme
from textual.cache import LRUCache
from textual.strip import Strip

from localq.chat_format.blocks import Block
from localq.display import printable, printable_lines
from localq.tui.chat.palette import Palette
from localq.tui.text import elide, tr

__all__ = ["COPY", "Painter"]

COPY = "copy"
"""Under this name, cells carry the number of the code that a click on them copies."""
_TAB = "    "
_MOST = 40_000
"""Characters of one block that are still worth the time for colours."""
_KEPT = 2000
"""Blocks: those on the screen, and what a growing reply has finished."""
_INDENT = 1


class _Heading(Heading):
    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Markdown(Markdown):
    elements = {**Markdown.elements, "heading_open": _Heading}  # noqa: RUF012


class Painter:
    """Draws for one theme. What it has drawn it keeps for a while."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            width=80,
            theme=Theme(dict(palette.markdown())),
            _environ={},
        )
        self._syntax = Syntax.get_theme("one-dark" if palette.dark else "friendly")
        behind = palette.panel.bgcolor
        self._behind_code = behind.get_truecolor().hex if behind else "default"
        self._parser = _parser()
        self._drawn: LRUCache[tuple[Block, int], list[Strip]] = LRUCache(_KEPT)

    def blocks(self, blocks: Iterable[Block], width: int) -> list[Strip]:
        """Finished blocks, with a line between them."""
        lines: list[Strip] = []
        for block in blocks:
            key = (block, width)
            drawn = self._drawn.get(key)
            if drawn is None:
                drawn = self._drawn[key] = self.block(block, width)
            if lines and not block.goes_on:
                lines.append(Strip.blank(0))
            lines += drawn
        return lines

    def block(self, block: Block, width: int) -> list[Strip]:
        if block.code is not None:
            return self._code(block, block.code, width)
        text = _drawable(block.text)
        if len(text) > _MOST:
            return self.lines(Text(text), width)
        markdown = _Markdown("", hyperlinks=False)
        markdown.parsed = self._parser.parse(text)
        return _without_blank(self.lines(markdown, width))

    def text(self, text: str, width: int, style: Style | None = None) -> list[Strip]:
        """As it stands, and nothing in it meant for the terminal."""
        return self.lines(Text(_drawable(text), style=style or ""), width)

    def lines(self, what: RenderableType, width: int) -> list[Strip]:
        options = self._console.options.update(width=max(width, 8), height=None)
        return [Strip(line) for line in self._console.render_lines(what, options, pad=False)]

    def _code(self, block: Block, number: int, width: int) -> list[Strip]:
        panel = self.palette.panel
        inner = max(width - 2 * _INDENT, 8)
        if len(block.text) > _MOST:
            drawn = self.lines(Text(_drawable(block.text)), inner)
        else:
            syntax = Syntax(
                _drawable(block.text).rstrip("\n"),
                printable(block.language) or "text",
                theme=self._syntax,
                word_wrap=True,
                background_color=self._behind_code,
            )
            drawn = self.lines(syntax, inner)
        pad = Segment(" " * _INDENT)
        framed = [Strip([pad, *line]).adjust_cell_length(width) for line in drawn]
        if not block.goes_on:
            framed.insert(0, self._code_title(block, number, width))
        return [line.apply_style(panel) for line in framed]

    def _code_title(self, block: Block, number: int, width: int) -> Strip:
        copy = tr("copy")
        left = elide(printable(block.language), width - cell_len(copy) - 2 * _INDENT)
        gap = width - cell_len(left) - cell_len(copy) - 2 * _INDENT
        muted = self.palette.muted
        return Strip(
            [
                Segment(" " * _INDENT + left + " " * max(gap, 1), muted),
                Segment(copy, muted + Style(meta={COPY: number})),
                Segment(" " * _INDENT),
            ]
        ).adjust_cell_length(width)


def _drawable(text: str) -> str:
    """A terminal's own tabs would tear holes into what is drawn around them."""
    return printable_lines(text).replace("\t", _TAB)


def _without_blank(lines: list[Strip]) -> list[Strip]:
    """Markdown is drawn with an empty line around it now and then."""
    start, end = 0, len(lines)
    while start < end and not lines[start].text.strip():
        start += 1
    while end > start and not lines[end - 1].text.strip():
        end -= 1
    return lines[start:end]


def _parser() -> MarkdownIt:
    """Markdown as models write it: HTML is text to be seen, and a line break is meant as one."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    parser.core.ruler.push("keep_line_breaks", _keep_line_breaks)
    return parser


def _keep_line_breaks(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
