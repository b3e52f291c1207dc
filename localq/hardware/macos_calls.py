"""The call into macOS's C library that answers sysctl names."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["read_sysctl"]


def read_sysctl(name: str) -> bytes | None:
    """The raw value of a sysctl name of this Mac; None where there is none."""
    if sys.platform != "darwin":
        return None
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t(len(buffer))
    failed = libc.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else buffer.raw[: size.value]
