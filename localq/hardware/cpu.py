"""How many threads are worth starting.

Token generation waits for memory, so a second thread on the same core, or one on an efficiency
core that the others then wait for, costs more than it brings; and threads beyond a container's
quota are stopped for most of every period.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Set
from pathlib import Path

from localq.hardware.cgroup import cpu_quota, read_text

__all__ = [
    "cpu_threads",
    "linux_threads",
    "parse_cpu_list",
    "parse_windows_cores",
]

_ROOT = Path("/")
_SYS_CPU = "sys/devices/system/cpu"
_RELATION_PROCESSOR_CORE = 0
_MAX_CPUS = 1 << 16


def cpu_threads() -> int:
    """The number of threads to begin with: performance cores this process may use, at least 1."""
    logical = os.cpu_count() or 1
    if sys.platform == "linux":
        return linux_threads(os.sched_getaffinity(0))
    if sys.platform == "darwin":
        from localq.hardware.macos import sysctl_int

        cores = sysctl_int("hw.perflevel0.physicalcpu") or sysctl_int("hw.physicalcpu")
        return max(1, min(cores or logical, logical))
    if sys.platform == "win32":
        from localq.hardware.windows import processor_cores

        return max(1, min(parse_windows_cores(processor_cores()) or logical, logical))
    return logical


def linux_threads(allowed: Set[int], root: Path = _ROOT) -> int:
    """The same for a Linux with the filesystem `root` that lets us run on the CPUs `allowed`."""
    fast = parse_cpu_list(read_text(root / "sys/devices/cpu_core/cpus") or "")
    usable = (allowed & fast) or allowed  # pinned to efficiency cores: then those it is
    # CPUs of one core name the same siblings; where that is hidden, each counts as a core.
    cores = {_siblings(root, cpu) or frozenset([cpu]) for cpu in usable}
    threads = len(cores)
    if (quota := cpu_quota(root)) is not None:
        threads = min(threads, int(quota))
    return max(1, threads)


def parse_cpu_list(text: str) -> frozenset[int]:
    """The CPUs in a kernel list such as "0-3,8"; what is no such list is empty."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not dash:
            last = first
        if not (first.isdecimal() and last.isdecimal()) or int(last) >= _MAX_CPUS:
            return frozenset()
        cpus.update(range(int(first), int(last) + 1))
    return frozenset(cpus)


def parse_windows_cores(buffer: bytes) -> int:
    """Cores of the highest efficiency class in an answer of GetLogicalProcessorInformationEx.

    Layout (learn.microsoft.com, SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX): u32 relationship, u32
    size of the entry, then for a core u8 flags, u8 efficiency class (higher is faster). 0 where
    the buffer holds no core.
    """
    classes: list[int] = []
    offset = 0
    while offset + 10 <= len(buffer):
        relationship, size, _flags, efficiency = struct.unpack_from("<IIBB", buffer, offset)
        if relationship == _RELATION_PROCESSOR_CORE:
            classes.append(efficiency)
        if size < 8:
            break
        offset += size
    return classes.count(max(classes)) if classes else 0


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    path = root / _SYS_CPU / f"cpu{cpu}/topology/thread_siblings_list"
    return parse_cpu_list(read_text(path) or "")
