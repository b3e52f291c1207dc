"""How much physical memory a process holds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ResidentMemory", "parse_status", "resident_memory", "resident_memory_of"]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class ResidentMemory:
    """Bytes; None where the system does not say."""

    resident_bytes: int | None = None
    anonymous_bytes: int | None = None
    """The part that is no file: what the process asked for and wrote to."""


def resident_memory() -> ResidentMemory:
    """The memory of this process."""
    if sys.platform == "linux":
        try:
            return parse_status(_STATUS.read_text(encoding="ascii", errors="replace"))
        except OSError:
            return ResidentMemory()
    if sys.platform == "win32":
        return _windows()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS gives bytes, BSD kB
    return ResidentMemory(peak if sys.platform == "darwin" else peak * 1024)


def resident_memory_of(pid: int) -> int | None:
    """Bytes that another process holds; None where it is gone, or only Linux would tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return parse_status(status).resident_bytes


def parse_status(text: str) -> ResidentMemory:
    """The same from the text of /proc/PID/status."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name in ("VmRSS", "RssAnon") and words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return ResidentMemory(found.get("VmRSS"), found.get("RssAnon"))


def _windows() -> ResidentMemory:
    if sys.platform != "win32":
        return ResidentMemory()
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS_EX of psapi.h
        _fields_ = (
            ("size", wintypes.DWORD),
            ("page_faults", wintypes.DWORD),
            ("peak_working_set", ctypes.c_size_t),
            ("working_set", ctypes.c_size_t),
            ("quota", ctypes.c_size_t * 4),
            ("pagefile", ctypes.c_size_t),
            ("peak_pagefile", ctypes.c_size_t),
            ("private", ctypes.c_size_t),
        )

    counters = Counters()
    counters.size = ctypes.sizeof(counters)
    kernel = ctypes.windll.kernel32
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD)
    if not ask(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size):
        return ResidentMemory()
    return ResidentMemory(int(counters.working_set), int(counters.private))
