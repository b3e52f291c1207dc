"""A growing Markdown text in pieces that can be drawn one by one, so that what is finished is
drawn once: paragraphs, lists and tables as they stand, and the lines of fenced code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Block", "BlockSplitter", "blocks_of", "code_of"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)]) ")
_MANY_ITEMS = 30
"""A list of so many lines goes on in a block of its own, and so does code, at a place that does
not matter to who reads it, or at the latest after the second number."""
_MANY_LINES = (40, 160)


@dataclass(frozen=True, slots=True)
class Block:
    text: str
    code: int | None = None
    """Which code of the text this is part of, from 0; None: it is Markdown."""
    language: str = ""
    """Of code, as its fence names it."""
    goes_on: bool = False
    """What the block before has begun: there is no gap between them."""


class BlockSplitter:
    """Takes a text as it comes; `finished` only grows, what follows it is `growing`."""

    def __init__(self) -> None:
        self.finished: list[Block] = []
        self._lines: list[str] = []
        self._line: list[str] = []
        self._fence = ""
        self._language = ""
        self._codes = 0
        self._blank = False
        self._goes_on = False

    def feed(self, text: str) -> None:
        head, newline, rest = text.partition("\n")
        while newline:
            self._line.append(head)
            line = "".join(self._line)
            self._line.clear()
            self._take(line)
            head, newline, rest = rest.partition("\n")
        if head:
            self._line.append(head)

    @property
    def growing(self) -> Block | None:
        """What is not finished yet."""
        last = "".join(self._line)
        lines = [*self._lines, last] if last else self._lines
        if self._fence and last.strip() and set(last.strip()) == {self._fence[0]}:
            lines = self._lines  # the fence at the end, or its beginning
        if not self._fence:
            if (found := _FENCE.match(last)) and not found[2]:
                lines = self._lines  # a fence of which the language may still come
            if not any(line.strip() for line in lines):
                return None
        return self._block(lines)

    def _take(self, line: str) -> None:
        if self._fence:
            bare = line.strip()
            if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
                self._end()
                self._fence, self._goes_on = "", False
                self._codes += 1
                return
            self._lines.append(line)
            few, many = _MANY_LINES
            if len(self._lines) >= many or (len(self._lines) >= few and not bare):
                self._end()
                self._goes_on = True
            return
        if found := _FENCE.match(line):
            self._end()
            self._goes_on = False
            self._fence, self._language = found[1], found[2]
        elif not line.strip():
            self._blank = True
            self._lines.append(line)
        else:
            if self._blank and not line[0].isspace():
                self._end()
                self._goes_on = False
            elif len(self._lines) >= _MANY_ITEMS and _ITEM.match(line):
                self._end()
                self._goes_on = True
            self._blank = False
            self._lines.append(line)

    def _end(self) -> None:
        if self._fence or any(line.strip() for line in self._lines):
            self.finished.append(self._block(self._lines))
        self._lines = []
        self._blank = False

    def _block(self, lines: Iterable[str]) -> Block:
        if self._fence:
            return Block("\n".join(lines), self._codes, self._language, self._goes_on)
        return Block("\n".join(lines).strip("\n"), goes_on=self._goes_on)


def blocks_of(text: str) -> list[Block]:
    """A whole text in blocks."""
    splitter = BlockSplitter()
    splitter.feed(text if text.endswith("\n") else text + "\n")
    growing = splitter.growing
    return [*splitter.finished, growing] if growing else splitter.finished


def code_of(text: str) -> list[str]:
    """The fenced codes of a text, each whole."""
    codes: dict[int, list[str]] = {}
    for block in blocks_of(text):
        if block.code is not None:
            codes.setdefault(block.code, []).append(block.text)
    return ["\n".join(parts) for parts in codes.values()]
