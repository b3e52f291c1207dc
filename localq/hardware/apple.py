"""The GPUs of a Mac, as system_profiler tells of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from localq.hardware.machine import Machine, decimal
from localq.hardware.macos import sysctl_int, sysctl_text
from localq.hardware.profile import Accelerator

__all__ = ["apple_accelerators", "metal_limit"]

_COMMAND = ("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json")
_VENDORS = {"sppci_vendor_Apple": "Apple", "sppci_vendor_amd": "AMD", "sppci_vendor_intel": "Intel"}
_VRAM = re.compile(r"(\d{1,7}) ([MG])B")
_UNITS = {"M": 1 << 20, "G": 1 << 30}
_MAX_GPUS = 8
_MAX_DEPTH_TEXT = 1 << 20
_SMALL_MEMORY = 36 << 30


def apple_accelerators(machine: Machine) -> tuple[Accelerator, ...]:
    """The GPUs; of Apple's own processors the chip itself, where system_profiler fails."""
    output = machine.run(_COMMAND)
    found = tuple(_gpus(machine, output.text)) if output else ()
    chip = sysctl_text(machine, "machdep.cpu.brand_string") or ""
    if found or not chip.startswith("Apple"):
        return found
    return (Accelerator(chip, "Apple", "sysctl", metal_limit(machine), unified=True),)


def metal_limit(machine: Machine) -> int | None:
    """Bytes of the shared memory that Metal lets a GPU use.

    The limit an administrator set (`iogpu.wired_limit_mb`), or else what Metal recommends
    (`recommendedMaxWorkingSetSize`), which only Metal itself knows exactly: about two thirds of
    the memory up to 36 GB, three quarters beyond. The engine's own device gives the true figure.
    """
    memory = sysctl_int(machine, "hw.memsize")
    if not memory:
        return None
    if set_by_hand := sysctl_int(machine, "iogpu.wired_limit_mb"):
        return min(set_by_hand << 20, memory)
    return memory * 2 // 3 if memory <= _SMALL_MEMORY else memory * 3 // 4


def _gpus(machine: Machine, text: str) -> Iterator[Accelerator]:
    try:
        document = json.loads(text[:_MAX_DEPTH_TEXT])
    except (ValueError, RecursionError):
        return
    entries = document.get("SPDisplaysDataType") if isinstance(document, dict) else None
    for entry in entries[:_MAX_GPUS] if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        name = _text(entry, "sppci_model") or _text(entry, "_name")
        if not name:
            continue
        maker = _text(entry, "spdisplays_vendor") or ""
        vendor = _VENDORS.get(maker, maker.partition(" ")[0] or "unknown")
        cores = decimal(_text(entry, "sppci_cores"))
        unified = vendor == "Apple"
        yield Accelerator(
            name=f"{name} ({cores} cores)" if cores else name,
            vendor=vendor,
            source="system_profiler",
            total_bytes=metal_limit(machine) if unified else _vram(entry),
            unified=unified or "spdisplays_vram_shared" in entry,
        )


def _vram(entry: dict[object, object]) -> int | None:
    match = _VRAM.fullmatch(_text(entry, "spdisplays_vram") or "")
    return int(match[1]) * _UNITS[match[2]] if match else None


def _text(entry: dict[object, object], key: str) -> str | None:
    value = entry.get(key)
    return value.strip() if isinstance(value, str) else None
