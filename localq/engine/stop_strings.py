"""Strings that end a text wherever they come, across the borders of tokens too."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopStrings"]


class StopStrings:
    """Watches a text for the first of several strings.

    What may still become one of them is kept back, so that no part of it is shown.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(string for string in strings if string)
        self._kept = ""
        self.found: str | None = None
        """The string that ended the text."""

    def feed(self, text: str) -> str:
        """What can be shown after `text` was added; nothing more once `found` is set."""
        if self.found is not None:
            return ""
        if not self._strings:
            return text
        text = self._kept + text
        hits = [(at, string) for string in self._strings if (at := text.find(string)) >= 0]
        if hits:
            at, self.found = min(hits, key=lambda hit: (hit[0], -len(hit[1])))
            self._kept = ""
            return text[:at]
        keep = max(_begun(text, string) for string in self._strings)
        self._kept = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was kept back, now that the text has ended."""
        kept, self._kept = self._kept, ""
        return kept


def _begun(text: str, string: str) -> int:
    """How many characters at the end of `text` are the beginning of `string`."""
    most = min(len(text), len(string) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(string[:n])), 0)
