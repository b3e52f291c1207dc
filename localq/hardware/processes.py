"""Telling processes apart whose numbers repeat: by when they started."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, suppress

from localq.hardware.machine import LocalMachine, Machine

__all__ = ["kill_process", "parse_stat", "process_start"]

_START_FIELD = 19  # the 22nd of proc_pid_stat(5), counted after the command's name
_MAX_PID = 2**31 - 1


def process_start(pid: int, machine: Machine | None = None) -> str | None:
    """When process `pid` started, in the system's own words, which only equality is asked of;
    None where there is no such process, or the system does not say."""
    if not 0 < pid <= _MAX_PID:
        return None
    machine = machine or LocalMachine()
    if machine.os == "linux":
        return parse_stat(machine.text(f"/proc/{pid}/stat"))
    if machine.os == "windows":
        return _windows_start(pid)
    answer = machine.run(["ps", "-o", "lstart=", "-p", str(pid)])
    return answer.text if answer and answer.code == 0 and answer.text else None


def parse_stat(text: str | None) -> str | None:
    """The start, in clock ticks since the machine's, from the text of /proc/PID/stat; None for a
    process that has ended and was only not waited for yet."""
    fields = (text or "").rpartition(")")[2].split()  # the name may hold anything, brackets too
    if len(fields) <= _START_FIELD or fields[0] in ("Z", "X"):
        return None
    return fields[_START_FIELD]


def kill_process(pid: int, start: str | None) -> bool:
    """End process `pid` at once if it is the one that started at `start`; whether it was."""
    if start is None:
        return False
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(pid)  # stays the process's own, even if its number repeats
        except OSError:
            return False
        with closing(os.fdopen(handle)):
            if process_start(pid) != start:
                return False
            with suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            return True
    if process_start(pid) != start:
        return False
    with suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    return True


def _windows_start(pid: int) -> str | None:
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.windll.kernel32
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    times = [wintypes.FILETIME() for _ in range(4)]
    kernel.GetProcessTimes.argtypes = (
        wintypes.HANDLE,
        *(ctypes.POINTER(wintypes.FILETIME) for _ in times),
    )
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    try:
        if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
            return None
    finally:
        kernel.CloseHandle(handle)
    created, ended = times[0], times[1]
    if ended.dwHighDateTime or ended.dwLowDateTime:
        return None
    return str((created.dwHighDateTime << 32) + created.dwLowDateTime)
