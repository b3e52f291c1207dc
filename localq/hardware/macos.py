"""Numbers that macOS gives through sysctl."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

__all__ = ["macos_memory", "sysctl_int"]

# What can be had without swapping: free pages, those apps called discardable, and file cache.
_AVAILABLE_PAGES = (
    "vm.page_free_count",
    "vm.page_purgeable_count",
    "vm.page_pageable_external_count",
)


def macos_memory(read: Callable[[str], int | None]) -> tuple[int, int] | None:
    """Total and available bytes, from the sysctl names that `read` can answer."""
    total = read("hw.memsize")
    if not total:
        return None
    page = read("hw.pagesize") or 4096
    pages = sum(read(name) or 0 for name in _AVAILABLE_PAGES)
    return total, min(pages * page, total)


def sysctl_int(name: str) -> int | None:
    """The integer value of a sysctl name, of 4 or 8 bytes; None where there is none."""
    libc = ctypes.CDLL(None)
    value = ctypes.c_uint64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    failed = libc.sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    # A 4-byte answer fills the lower half: every Mac is little-endian.
    return None if failed else int(value.value)
