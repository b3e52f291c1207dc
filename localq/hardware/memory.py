"""How much memory there is, and how much of it is free to use."""

from __future__ import annotations

from localq.hardware.cgroup import memory_limit
from localq.hardware.machine import LocalMachine, Machine, decimal
from localq.hardware.macos import macos_memory
from localq.hardware.profile import Memory

__all__ = ["memory", "parse_meminfo"]


def memory(machine: Machine | None = None) -> Memory | None:
    """The machine's memory, by default this one's; None where the system does not say."""
    machine = machine or LocalMachine()
    if machine.os == "linux":
        return _linux_memory(machine)
    if machine.os == "macos":
        return macos_memory(machine)
    if machine.os == "windows":
        return _windows_memory(machine)
    return None


def parse_meminfo(text: str) -> dict[str, int]:
    """The fields of /proc/meminfo that are given in kB, as bytes."""
    fields: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and (number := decimal(words[0])) is not None:
            fields[name] = number * 1024
    return fields


def _linux_memory(machine: Machine) -> Memory | None:
    fields = parse_meminfo(machine.text("/proc/meminfo") or "")
    total = fields.get("MemTotal")
    if not total:
        return None
    available = min(fields.get("MemAvailable", fields.get("MemFree", 0)), total)
    swap_total, swap_free = fields.get("SwapTotal"), fields.get("SwapFree")
    limit = memory_limit(machine)
    if limit is None or limit.limit >= total:
        return Memory(total, available, swap_total, swap_free)
    available = min(available, limit.limit - limit.used)
    return Memory(limit.limit, available, swap_total, swap_free, limit.limit)


def _windows_memory(machine: Machine) -> Memory | None:
    found = machine.windows().memory
    if found is None or found.total <= 0:
        return None
    available = min(max(found.available, 0), found.total)
    page_files = max(found.commit_limit - found.total, 0)
    # Page files are filled after memory: what may still be committed beyond it is free in them.
    free = min(max(found.commit_available - available, 0), page_files)
    return Memory(found.total, available, page_files, free)
