"""The calls into kernel32 and the registry. Importable on Windows only."""

from __future__ import annotations

import ctypes
import sys
import winreg
from ctypes import wintypes

from localq.hardware.windows import Adapter, WindowsAnswers, WindowsMemory

__all__ = ["ask"]

assert sys.platform == "win32"

_RELATION_ALL = 0xFFFF
_FEATURES = range(64)
_CPU_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_ADAPTERS_KEY = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_MAX_ADAPTERS = 16
_GROUP_SIZE = 64


def ask() -> WindowsAnswers:
    """What this Windows says."""
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    present = kernel32.IsProcessorFeaturePresent
    return WindowsAnswers(
        processors=_processors(kernel32),
        allowed_cpus=_affinity(kernel32),
        features=frozenset(feature for feature in _FEATURES if present(feature)),
        processor=_registry_text(_CPU_KEY, "ProcessorNameString"),
        vendor=_registry_text(_CPU_KEY, "VendorIdentifier"),
        memory=_memory(kernel32),
        adapters=_adapters(),
    )


def _memory(kernel32: ctypes.WinDLL) -> WindowsMemory | None:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", wintypes.DWORD),
            ("load", wintypes.DWORD),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("commit_limit", ctypes.c_uint64),
            ("commit_available", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 3),
        )

    status = Status()
    status.length = ctypes.sizeof(status)
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return WindowsMemory(
        int(status.total),
        int(status.available),
        int(status.commit_limit),
        int(status.commit_available),
    )


def _processors(kernel32: ctypes.WinDLL) -> bytes:
    ask = kernel32.GetLogicalProcessorInformationEx
    size = wintypes.DWORD(0)
    ask(_RELATION_ALL, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not size.value or not ask(_RELATION_ALL, buffer, ctypes.byref(size)):
        return b""
    return buffer.raw[: size.value]


def _affinity(kernel32: ctypes.WinDLL) -> frozenset[int] | None:
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    process, system = ctypes.c_size_t(0), ctypes.c_size_t(0)
    if not kernel32.GetProcessAffinityMask(
        wintypes.HANDLE(kernel32.GetCurrentProcess()),
        ctypes.byref(process),
        ctypes.byref(system),
    ):
        return None
    # A process of several groups gets zero, and one with the whole system's mask may use
    # every group: in both cases nothing is known to be forbidden.
    if process.value == 0 or process.value == system.value:
        return None
    return frozenset(n for n in range(_GROUP_SIZE) if process.value >> n & 1)


def _registry(key: str, name: str) -> object:
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None


def _registry_text(key: str, name: str) -> str | None:
    value = _registry(key, name)
    return value.strip() if isinstance(value, str) else None


def _adapters() -> tuple[Adapter, ...]:
    found: list[Adapter] = []
    for number in range(_MAX_ADAPTERS):
        key = rf"{_ADAPTERS_KEY}\{number:04}"
        if not (name := _registry_text(key, "DriverDesc")):
            continue
        size = _registry(key, "HardwareInformation.qwMemorySize")
        found.append(
            Adapter(
                name,
                _registry_text(key, "ProviderName"),
                _registry_text(key, "DriverVersion"),
                _size(size),
            )
        )
    return tuple(found)


def _size(value: object) -> int | None:
    if isinstance(value, bytes):  # some drivers write the number as plain bytes
        value = int.from_bytes(value[:8], "little")
    return value if isinstance(value, int) and value > 0 else None
