"""The text of a reply, read while it is still being written.

What reads it is a generator, which yields where it needs more text than there is. So a grammar is
written as if the whole text were there, and how the text was cut into pieces makes no difference.
Each character is looked at a fixed number of times, so that long replies take no longer per
character than short ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from functools import cache
from typing import TypeVar

__all__ = ["MalformedError", "Reading", "ReplyStream", "nothing"]

T = TypeVar("T")
Reading = Generator[None, None, T]
"""Yields where it needs more text, and returns what it has read."""

_SPACE = re.compile(r"\s*")
_BARE = re.compile(r"""[\s\w,:.+\-=]*""")  # what is between brackets and quotes
_STRINGS = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}
_PAIRS = {"{": "}", "[": "]", "(": ")"}


class MalformedError(Exception):
    """What began like a tool call is none."""


def nothing(text: str) -> None:
    """Where text goes that nobody needs."""


class ReplyStream:
    """Text in the order in which it comes. `ended`: nothing follows what is here."""

    def __init__(self) -> None:
        self.ended = False
        self._text = ""
        self._at = 0
        self._record: list[str] | None = None
        self._recorded = 0

    def put(self, text: str) -> None:
        self._text = self._text[self._at :] + text
        self._at = 0

    @property
    def held(self) -> int:
        """Characters that nothing has been made of yet."""
        return len(self._text) - self._at + self._recorded

    @property
    def exhausted(self) -> bool:
        return self.ended and self._at == len(self._text)

    # What was read of something that may turn out to be nothing.

    def record(self, begin: str) -> None:
        """Keep what is read from now on, `begin` in front of it."""
        self._record = [begin]
        self._recorded = len(begin)

    def recorded(self) -> str:
        """All that was read since `record`, which ends here."""
        text = "".join(self._record or ())
        self._record = None
        self._recorded = 0
        return text

    def _take(self, end: int) -> str:
        text = self._text[self._at : end]
        self._at = end
        if self._record is not None:
            self._record.append(text)
            self._recorded += len(text)
        return text

    def _give_back(self, length: int) -> None:
        """Unread the last characters, all of which were taken at once."""
        self._at -= length
        if self._record is not None:
            self._record[-1] = self._record[-1][:-length]
            self._recorded -= length

    # Readings.

    def until(self, markers: Sequence[str], put: Callable[[str], None]) -> Reading[str]:
        """Read up to the first of `markers`, and it as well: it is the result, "" at the end. The
        text before it is `put` as it comes."""
        pattern = _any_of(tuple(markers))
        while True:
            found = pattern.search(self._text, self._at)
            if found and (self.ended or not self._may_grow(found, markers)):
                if found.start() > self._at:
                    put(self._take(found.start()))
                return self._take(found.end())
            end = found.start() if found else len(self._text)
            if not self.ended and not found:
                end -= _overlap(self._text, self._at, tuple(markers))
            if end > self._at:
                put(self._take(end))
            if self.ended:
                return ""
            yield

    def _may_grow(self, found: re.Match[str], markers: Sequence[str]) -> bool:
        """Whether a longer marker may begin here, of which the rest is still to come."""
        here = self._text[found.start() : found.start() + max(map(len, markers))]
        return any(len(m) > len(here) and m.startswith(here) for m in markers)

    def text_until(self, markers: Sequence[str]) -> Reading[tuple[str, str]]:
        """The text before the first of `markers`, and which it was."""
        parts: list[str] = []
        marker = yield from self.until(markers, parts.append)
        return "".join(parts), marker

    def space(self, put: Callable[[str], None] = nothing) -> Reading[None]:
        """Read white space, as far as it goes."""
        while True:
            found = _SPACE.match(self._text, self._at)
            put(self._take(found.end() if found else self._at))
            if self._at < len(self._text) or self.ended:
                return
            yield

    def peek(self, length: int) -> Reading[str]:
        """The next characters; fewer only at the end."""
        while len(self._text) - self._at < length and not self.ended:
            yield
        return self._text[self._at : self._at + length]

    def ahead(self, texts: Sequence[str]) -> Reading[str]:
        """Which of `texts`, none of which begins another, comes next; "" if none does."""
        while True:
            here = self._text[self._at : self._at + max(map(len, texts))]
            for text in texts:
                if here.startswith(text):
                    return text
            if self.ended or not any(text.startswith(here) for text in texts):
                return ""
            yield

    def skip(self, texts: Sequence[str]) -> Reading[str]:
        """Read one of `texts` if it comes next, and say which."""
        text = yield from self.ahead(texts)
        self._take(self._at + len(text))
        return text

    def expect(self, texts: Sequence[str]) -> Reading[str]:
        """Read one of `texts`. MalformedError if something else comes."""
        text = yield from self.skip(texts)
        if not text:
            raise MalformedError
        return text

    def match(self, pattern: re.Pattern[str], most: int) -> Reading[str]:
        """Read what `pattern` matches within the next `most` characters."""
        here = yield from self.peek(most)
        found = pattern.match(here)
        if not found:
            raise MalformedError
        return self._take(self._at + found.end())

    def name(self, ends: Sequence[str], most: int = 300) -> Reading[tuple[str, str]]:
        """One line of at most `most` characters, and which of `ends` comes after it."""
        pattern = _any_of(tuple(ends))
        window = most + max(map(len, ends))
        while True:
            found = pattern.search(self._text, self._at, self._at + window)
            enough = len(self._text) - self._at >= window
            if found or enough or self.ended:
                break
            yield
        if not found:
            raise MalformedError
        name = self._text[self._at : found.start()].strip()
        if "\n" in name:
            raise MalformedError
        self._take(found.end())
        return name, found[0]

    def before(self, ends: Sequence[str], most: int = 300) -> Reading[str]:
        """As `name`, but what ends it is left to be read."""
        name, end = yield from self.name(ends, most)
        self._give_back(len(end))
        return name

    def bracketed(self, quotes: str = '"', opened: str = "") -> Reading[str]:
        """A text in brackets: JSON, or Python's literals where `quotes` has both. It is as long as
        its brackets say, whatever its strings hold. MalformedError where it cannot go on so.
        `opened`: the first bracket, if it has been read."""
        start = opened or (yield from self.peek(1))
        if start not in _PAIRS:
            raise MalformedError
        parts = [opened]
        closing = [_PAIRS[opened]] if opened else []
        quote = ""
        while True:
            if self._at == len(self._text):
                if self.ended:
                    raise MalformedError
                yield
                continue
            inside = _STRINGS[quote] if quote else _BARE
            found = inside.match(self._text, self._at)
            if found and found.end() > self._at:
                parts.append(self._take(found.end()))
                continue
            char = self._text[self._at]
            if quote and char == "\\":
                pair = yield from self.peek(2)
                parts.append(self._take(self._at + len(pair)))
                continue
            parts.append(self._take(self._at + 1))
            if quote:
                quote = ""
            elif char in quotes:
                quote = char
            elif char in _PAIRS:
                closing.append(_PAIRS[char])
            elif not closing or char != closing.pop():
                raise MalformedError
            elif not closing:
                return "".join(parts)


@cache
def _any_of(markers: tuple[str, ...]) -> re.Pattern[str]:
    """The first of the markers, the longest where several begin at one place."""
    longest_first = sorted(markers, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _overlap(text: str, start: int, markers: tuple[str, ...]) -> int:
    """How much of the end of `text` could be the beginning of a marker."""
    longest = max((len(marker) for marker in markers), default=1) - 1
    for length in range(min(longest, len(text) - start), 0, -1):
        if any(marker.startswith(text[-length:]) for marker in markers):
            return length
    return 0
