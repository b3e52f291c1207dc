"""Where each of many rows begins, of which only those that were seen have been measured."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

__all__ = ["Rows"]


class Rows:
    """Heights in lines. A guess counts until the row is measured."""

    def __init__(self, guesses: Iterable[int] = ()) -> None:
        self._heights = list(guesses)
        self._measured = bytearray(len(self._heights))
        self._tops: list[int] | None = None

    def __len__(self) -> int:
        return len(self._heights)

    @property
    def total(self) -> int:
        return self._starts()[-1]

    def top(self, index: int) -> int:
        """The first line of a row; of the one behind the last, the total."""
        return self._starts()[index]

    def height(self, index: int) -> int:
        return self._heights[index]

    def is_measured(self, index: int) -> bool:
        return bool(self._measured[index])

    def at(self, line: int) -> int:
        """The row of a line; the first or last for one outside."""
        found = bisect_right(self._starts(), line) - 1
        return min(max(found, 0), len(self._heights) - 1)

    def measure(self, index: int, height: int) -> None:
        self._measured[index] = 1
        before = self._heights[index]
        if before == height:
            return
        self._heights[index] = height
        if self._tops is not None:
            if index == len(self._heights) - 1:  # a reply that grows
                self._tops[-1] += height - before
            else:
                self._tops = None

    def truncate(self, count: int) -> None:
        """Forget all but the first rows."""
        del self._heights[count:]
        del self._measured[count:]
        self._tops = None

    def extend(self, guesses: Iterable[int]) -> None:
        self._heights.extend(guesses)
        self._measured.extend(bytes(len(self._heights) - len(self._measured)))
        self._tops = None

    def _starts(self) -> list[int]:
        if self._tops is None:
            self._tops = list(accumulate(self._heights, initial=0))
        return self._tops
