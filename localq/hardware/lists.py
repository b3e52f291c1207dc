"""CPU lists as the Linux kernel writes them."""

from __future__ import annotations

__all__ = ["parse_cpu_list"]

_MAX_CPUS = 1 << 13
"""The most that Linux can be built for, on any architecture."""


def parse_cpu_list(text: str | None) -> frozenset[int]:
    """The CPUs in an ascending list such as "0-3,8"; what is no such list is empty."""
    cpus: set[int] = set()
    next_cpu = 0
    for part in (text or "").strip().split(","):
        first, dash, last = part.partition("-")
        if not dash:
            last = first
        if not (_is_cpu(first) and _is_cpu(last) and next_cpu <= int(first) <= int(last)):
            return frozenset()
        next_cpu = int(last) + 1
        cpus.update(range(int(first), next_cpu))
    return frozenset(cpus)


def _is_cpu(text: str) -> bool:
    return len(text) <= 4 and text.isascii() and text.isdecimal() and int(text) < _MAX_CPUS
