"""Sizes in the words of plans."""

from __future__ import annotations

__all__ = ["size_text"]

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size_text(size: int) -> str:
    """Bytes in powers of 1,024, as memory is sold and llama.cpp counts: "7.6 GiB"."""
    value = size / 1024
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
