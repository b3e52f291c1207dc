"""Keys that are typed while something draws on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_keys"]


@contextmanager
def quiet_keys() -> Iterator[None]:
    """The terminal does not show what is typed until the block ends; the keys are not lost. Its
    echo, a `^C` is enough, would move lines that are about to be drawn anew."""
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):  # Windows; no terminal
        yield
        return
    except termios.error:
        yield
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
