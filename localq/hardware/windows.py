"""Numbers that Windows gives through kernel32. None of it exists on other systems."""

from __future__ import annotations

import sys

__all__ = ["processor_cores", "windows_memory"]

_RELATION_PROCESSOR_CORE = 0


def windows_memory() -> tuple[int, int] | None:
    """Total and available bytes of physical memory."""
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", wintypes.DWORD),
            ("load", wintypes.DWORD),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 5),
        )

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.total), int(status.available)


def processor_cores() -> bytes:
    """The answer of GetLogicalProcessorInformationEx about cores; empty where it refuses."""
    if sys.platform != "win32":
        return b""
    import ctypes
    from ctypes import wintypes

    ask = ctypes.windll.kernel32.GetLogicalProcessorInformationEx
    size = wintypes.DWORD(0)
    ask(_RELATION_PROCESSOR_CORE, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not size.value or not ask(_RELATION_PROCESSOR_CORE, buffer, ctypes.byref(size)):
        return b""
    return buffer.raw[: size.value]
