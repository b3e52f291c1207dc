"""A flag that llama.cpp looks at between the steps of a computation."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["AbortFlag"]


class AbortFlag:
    """Any thread may set it; the computation that runs then ends early.

    llama.cpp calls a function with an address after every step, which may be thousands of times
    a second. A function in Python would have to wait for the interpreter each time. So it gets
    the C library's `strlen`, and the address of a string that is empty until the flag is set:
    the length of that string is the answer.
    """

    def __init__(self, api: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
        self._strlen = library.strlen
        self.callback = api.ggml_abort_callback(ctypes.cast(self._strlen, ctypes.c_void_p).value)
        """A ggml_abort_callback, which must be given `data`. Both live as long as this object."""
        self.data = ctypes.addressof(self._text)

    def set(self) -> None:
        self._text[0] = b"!"

    def clear(self) -> None:
        self._text[0] = b"\0"
