"""The limits that a Linux container or service manager puts on this process.

Both versions are read: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/. A limit of any
group above the process's own counts too, so the whole chain is walked and the tightest taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from localq.hardware.machine import Machine, decimal

__all__ = ["MemoryLimit", "cpu_quota", "memory_limit"]

_CGROUP = "/sys/fs/cgroup"
_V1_UNLIMITED = 1 << 62
"""Version 1 says "no limit" with a number near 2**63."""
_MAX_HIERARCHIES = 64
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """`limit` bytes this process may use together with its group, of which `used` are taken or,
    by a limit above, out of reach."""

    limit: int
    used: int


def cpu_quota(machine: Machine) -> float | None:
    """How many processors' worth of time the process gets; None where nothing limits it."""
    quotas = (_quota(machine, folder) for folder in _folders(machine, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(machine: Machine) -> MemoryLimit | None:
    """The lowest limit, and what the group with least room leaves of it; None where nothing limits
    the process."""
    limits = (_memory(machine, folder) for folder in _folders(machine, "memory"))
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    least = min(limit.limit for limit in known)
    return MemoryLimit(least, least - min(limit.limit - limit.used for limit in known))


def _quota(machine: Machine, folder: str) -> float | None:
    if (text := machine.text(f"{folder}/cpu.max")) is not None:  # "150000 100000", "max 100000"
        quota, _, period = text.partition(" ")
        microseconds, period_us = decimal(quota), decimal(period)
    else:
        microseconds = machine.integer(f"{folder}/cpu.cfs_quota_us")  # -1: unlimited
        period_us = machine.integer(f"{folder}/cpu.cfs_period_us")
    return microseconds / period_us if microseconds and period_us else None


def _memory(machine: Machine, folder: str) -> MemoryLimit | None:
    limit = machine.integer(f"{folder}/memory.max")  # "max": unlimited
    used = machine.integer(f"{folder}/memory.current")
    inactive = "inactive_file"
    if limit is None:
        limit = machine.integer(f"{folder}/memory.limit_in_bytes")
        used = machine.integer(f"{folder}/memory.usage_in_bytes")
        inactive = "total_inactive_file"
    if limit is None or limit >= _V1_UNLIMITED:
        return None
    # File cache that nobody touched lately is given back before anything is killed.
    reclaimable = _statistics(machine, f"{folder}/memory.stat").get(inactive, 0)
    return MemoryLimit(limit, min(max((used or 0) - reclaimable, 0), limit))


def _statistics(machine: Machine, path: str) -> dict[str, int]:
    pairs = (line.split() for line in (machine.text(path) or "").splitlines())
    return {
        pair[0]: number
        for pair in pairs
        if len(pair) == 2 and (number := decimal(pair[1])) is not None
    }


def _folders(machine: Machine, controller: str) -> Iterator[str]:
    """The process's group of `controller` and those above it, in both hierarchies."""
    for line in (machine.text("/proc/self/cgroup") or "").splitlines()[:_MAX_HIERARCHIES]:
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [_CGROUP]
        elif controller in controllers.split(","):
            # "cpu" is a link to "cpu,cpuacct", but not everywhere.
            mounts = list(dict.fromkeys(f"{_CGROUP}/{name}" for name in (controller, controllers)))
        else:
            continue
        group = PurePosixPath(place)
        if ".." in group.parts:  # the process was moved out of the part the container sees
            group = PurePosixPath("/")
        # A container often sees only its own part, mounted at the top: the top is always read.
        for ancestor in [group, *group.parents][:_MAX_DEPTH]:
            for mount in mounts:
                yield f"{mount}/{ancestor.as_posix().lstrip('/')}".rstrip("/")
