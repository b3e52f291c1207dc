"""A text that is drawn again and again, as of a job that runs, without laying out the whole screen
each time."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

__all__ = ["SteadyText"]


class SteadyText(Static):
    """Nothing happens where it says the same again; the screen is laid out anew only where it may
    need another number of lines."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, markup=False)
        self._said = Text()

    def say(self, text: Text) -> None:
        before, self._said = self._said, text
        if text != before or text.spans != before.spans:
            self.update(text, layout=self._lines(text) != self._lines(before))

    def _lines(self, text: Text) -> int:
        width = max(self.content_size.width, 1)
        return sum(max(-(-line.cell_len // width), 1) for line in text.split(allow_blank=True))
