"""How much memory there is, and how much of it is free to use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from localq.hardware.cgroup import memory_limit, read_text

__all__ = ["Memory", "linux_memory", "memory", "parse_meminfo"]

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that this process could use: physical memory, or less where a container limits it."""

    total: int
    available: int


def memory() -> Memory | None:
    """This machine's memory; None where the system does not say."""
    if sys.platform == "linux":
        return linux_memory()
    if sys.platform == "darwin":
        from localq.hardware.macos import macos_memory, sysctl_int

        found = macos_memory(sysctl_int)
        return Memory(*found) if found else None
    if sys.platform == "win32":
        from localq.hardware.windows import windows_memory

        found = windows_memory()
        return Memory(*found) if found else None
    return None


def linux_memory(root: Path = _ROOT) -> Memory | None:
    """The memory of a Linux with the filesystem `root`."""
    fields = parse_meminfo(read_text(root / "proc/meminfo") or "")
    total = fields.get("MemTotal")
    if total is None:
        return None
    available = min(fields.get("MemAvailable", fields.get("MemFree", 0)), total)
    if limit := memory_limit(root):
        total = min(total, limit.limit)
        available = min(available, limit.limit - limit.used)
    return Memory(total, available)


def parse_meminfo(text: str) -> dict[str, int]:
    """The fields of /proc/meminfo that are given in kB, as bytes."""
    fields: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[0].isdecimal() and words[1] == "kB":
            fields[name] = int(words[0]) * 1024
    return fields
