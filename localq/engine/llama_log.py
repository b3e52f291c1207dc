"""What llama.cpp logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from localq.engine.log_output import write_log

__all__ = ["LogTail"]

# enum ggml_log_level in ggml.h
_INFO, _ERROR, _CONTINUED = 2, 4, 5
_MAX_LINES = 10_000


class LogTail:
    """Sends llama.cpp's log to stderr and remembers its latest errors."""

    def __init__(self, api: Any) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._lines: list[str] | None = None
        self._level = 0
        self.callback = api.llama_log_callback(self._line)  # must outlive llama.cpp's use of it
        api.llama_log_set(self.callback, None)

    def reason(self, otherwise: str) -> str:
        """Why the last call failed: the first error since `clear`, the most specific one."""
        return self._errors[0] if self._errors else otherwise

    def clear(self) -> None:
        self._errors.clear()

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """The lines that llama.cpp logs during the block, the first 10,000 of them."""
        lines: list[str] = []
        self._lines = lines
        try:
            yield lines
        finally:
            self._lines = None

    def _line(self, level: int, text: bytes, _: object) -> None:
        continues = level == _CONTINUED
        self._level = self._level if continues else level
        line = text.decode("utf-8", "replace")
        if _INFO <= self._level <= _ERROR:
            write_log(line)
            if self._lines is not None and not continues and len(self._lines) < _MAX_LINES:
                self._lines.append(line)
        if self._level == _ERROR and line.strip():
            # "llama_model_load: error loading model: ..." says it better without the C function.
            function, _colon, rest = line.strip().partition(": ")
            self._errors.append(rest if rest and " " not in function else line.strip())
