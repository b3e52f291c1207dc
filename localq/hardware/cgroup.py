"""The limits that a Linux container or service manager puts on this process.

Both versions are read: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/. A limit of any
group above the process's own counts too, so the whole chain is walked and the tightest taken.
Every function takes the root of the filesystem, for tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["MemoryLimit", "cpu_quota", "memory_limit", "read_int", "read_text"]

_ROOT = Path("/")
_V1_UNLIMITED = 1 << 62
"""Version 1 says "no limit" with a number near 2**63."""
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """`limit` bytes this process may use together with its group, of which `used` are taken."""

    limit: int
    used: int


def cpu_quota(root: Path = _ROOT) -> float | None:
    """How many processors' worth of time the process gets; None where nothing limits it."""
    quotas = [q for folder in _folders(root, "cpu") if (q := _quota(folder)) is not None]
    return min(quotas, default=None)


def memory_limit(root: Path = _ROOT) -> MemoryLimit | None:
    """The limit that leaves least free memory; None where nothing limits it."""
    limits = [m for folder in _folders(root, "memory") if (m := _memory(folder)) is not None]
    return min(limits, key=lambda m: m.limit - m.used, default=None)


def read_text(path: Path) -> str | None:
    """A small file of /proc or /sys; None where there is none or it may not be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    text = read_text(path)
    return int(text) if text is not None and text.isdecimal() else None


def _quota(folder: Path) -> float | None:
    if (text := read_text(folder / "cpu.max")) is not None:  # "150000 100000", "max 100000"
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            return int(quota) / int(period)
        return None
    microseconds = read_int(folder / "cpu.cfs_quota_us")  # -1: unlimited
    period_us = read_int(folder / "cpu.cfs_period_us")
    return microseconds / period_us if microseconds and period_us else None


def _memory(folder: Path) -> MemoryLimit | None:
    limit = read_int(folder / "memory.max")  # "max": unlimited
    used = read_int(folder / "memory.current")
    inactive = "inactive_file"
    if limit is None:
        limit = read_int(folder / "memory.limit_in_bytes")
        used = read_int(folder / "memory.usage_in_bytes")
        inactive = "total_inactive_file"
    if limit is None or limit >= _V1_UNLIMITED:
        return None
    # File cache that nobody touched lately is given back before anything is killed.
    reclaimable = _statistics(folder / "memory.stat").get(inactive, 0)
    return MemoryLimit(limit, min(max((used or 0) - reclaimable, 0), limit))


def _statistics(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in (read_text(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's group of `controller` and those above it, in both hierarchies."""
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0" and not controllers:
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        group = PurePosixPath(place)
        if ".." in group.parts:  # the process was moved out of the part the container sees
            group = PurePosixPath("/")
        # A container often sees only its own part, mounted at the top: the top is always read.
        for ancestor in [group, *group.parents][:_MAX_DEPTH]:
            yield mount / ancestor.as_posix().lstrip("/")
