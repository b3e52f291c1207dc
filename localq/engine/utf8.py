"""Bytes of tokens to text, whole characters only."""

from __future__ import annotations

import codecs

__all__ = ["TextStream"]


class TextStream:
    """Joins the bytes of successive tokens into text.

    A token may end in the middle of a character; those bytes wait for the next token. Bytes that
    can never become a character turn into U+FFFD, an unfinished character at the end is dropped.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """The characters that `data` completes; may be empty."""
        return self._decoder.decode(data)
