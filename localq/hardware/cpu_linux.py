"""The processors of a Linux: cores, kinds of cores, threads and caches, from /proc and /sys."""

from __future__ import annotations

from collections.abc import Mapping, Set

from localq.hardware.cgroup import cpu_quota
from localq.hardware.cpuinfo import instruction_sets, parse_cpuinfo
from localq.hardware.lists import parse_cpu_list
from localq.hardware.machine import Machine
from localq.hardware.profile import Cache, CacheKind, CpuProfile

__all__ = ["linux_cpu", "linux_threads"]

_CPU = "/sys/devices/system/cpu"
_FAST_SHARE = 0.6
"""A core of an ARM that does less than this share of the fastest core's work is a small one."""
_CACHE_KINDS: dict[str, CacheKind] = {
    "Data": "data",
    "Instruction": "instruction",
    "Unified": "unified",
}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MAX_CACHES = 16
_MAX_THREADS_OF_CORE = 16


def linux_cpu(machine: Machine) -> CpuProfile:
    """Everything Linux says about the processors."""
    info = parse_cpuinfo(machine.text("/proc/cpuinfo"))
    online = parse_cpu_list(machine.text(f"{_CPU}/online")) or info.processors
    allowed = machine.allowed_cpus()
    usable = (allowed & online if allowed and online else allowed) or online
    quota = cpu_quota(machine)
    core_of = _core_of(machine, online)
    cores = {core & online for core in core_of.values()}
    fast = _fast(machine, online)
    fast_cores = {core for core in cores if core & fast} if fast else cores
    threads = _threads(core_of, usable, fast, quota)
    return CpuProfile(
        threads=threads,
        threads_batch=threads,
        model=info.model,
        vendor=info.vendor,
        architecture=machine.architecture or None,
        sockets=_sockets(machine, online) or info.sockets,
        numa_nodes=len(parse_cpu_list(machine.text("/sys/devices/system/node/online"))) or None,
        physical_cores=len(cores) or None,
        logical_cores=len(online) or None,
        performance_cores=len(fast_cores) or None,
        efficiency_cores=len(cores) - len(fast_cores) if cores else None,
        smt=_smt(machine, cores),
        allowed_cpus=len(usable) or None,
        quota_cpus=quota,
        instruction_sets=instruction_sets(info.flags, machine.architecture),
        caches=_caches(machine, min(fast or online, default=0)),
    )


def linux_threads(machine: Machine) -> int:
    """Threads worth starting, without reading all the rest; at least 1."""
    online = parse_cpu_list(machine.text(f"{_CPU}/online"))
    allowed = machine.allowed_cpus()
    usable = (allowed & online if allowed and online else allowed) or online
    if not usable:
        usable = parse_cpuinfo(machine.text("/proc/cpuinfo")).processors
    fast = _fast(machine, online or usable)
    return _threads(_core_of(machine, usable), usable, fast, cpu_quota(machine))


def _threads(
    core_of: Mapping[int, frozenset[int]],
    usable: frozenset[int],
    fast: frozenset[int],
    quota: float | None,
) -> int:
    usable = (usable & fast) or usable  # pinned to efficiency cores: then those it is
    # Where it is hidden which CPUs are of one core, each counts as a core.
    threads = len({core_of.get(cpu, frozenset([cpu])) for cpu in usable})
    if quota is not None:
        threads = min(threads, int(quota))
    return max(1, threads)


def _fast(machine: Machine, cpus: frozenset[int]) -> frozenset[int]:
    """The CPUs that are performance cores; empty where there is one kind, as far as is known."""
    # Intel's hybrids have a counter unit for each kind of core, and it lists their CPUs.
    if fast := parse_cpu_list(machine.text("/sys/devices/cpu_core/cpus")):
        return fast
    # ARM: the kernel says how much work each does, of 1024 for the fastest.
    capacity = {cpu: machine.integer(f"{_CPU}/cpu{cpu}/cpu_capacity") for cpu in _some(cpus)}
    known = {cpu: work for cpu, work in capacity.items() if work}
    ranked = sorted(known.values(), reverse=True)
    least = ranked[0] * _FAST_SHARE if ranked else 0
    if len(ranked) > 1:  # one core alone is slower than with those of the next kind
        least = min(least, ranked[1])
    fast = frozenset(cpu for cpu, work in known.items() if work >= least)
    return fast if len(fast) < len(known) else frozenset()


def _some(cpus: frozenset[int]) -> frozenset[int]:
    """All of them on machines that may have small cores; none on large ones, which never do."""
    return cpus if len(cpus) <= 64 else frozenset()


def _core_of(machine: Machine, cpus: frozenset[int]) -> Mapping[int, frozenset[int]]:
    """For each CPU those of its core, itself too; empty where that is hidden."""
    found: dict[int, frozenset[int]] = {}
    for cpu in cpus:
        core = _siblings(machine, cpu)
        if cpu not in core or len(core) > _MAX_THREADS_OF_CORE:
            return parse_cpuinfo(machine.text("/proc/cpuinfo")).cores
        found[cpu] = core
    return found


def _siblings(machine: Machine, cpu: int) -> frozenset[int]:
    folder = f"{_CPU}/cpu{cpu}/topology"
    return parse_cpu_list(
        machine.text(f"{folder}/core_cpus_list")
        or machine.text(f"{folder}/thread_siblings_list")  # before Linux 5.3
    )


def _sockets(machine: Machine, online: frozenset[int]) -> int | None:
    ids = {machine.text(f"{_CPU}/cpu{cpu}/topology/physical_package_id") for cpu in online}
    return len(ids - {None, "-1"}) or None


def _smt(machine: Machine, cores: Set[frozenset[int]]) -> bool | None:
    if cores:
        return any(len(core) > 1 for core in cores)
    active = machine.text(f"{_CPU}/smt/active")
    return active == "1" if active in ("0", "1") else None


def _caches(machine: Machine, cpu: int) -> tuple[Cache, ...]:
    found: list[Cache] = []
    for index in range(_MAX_CACHES):
        folder = f"{_CPU}/cpu{cpu}/cache/index{index}"
        level = machine.integer(f"{folder}/level")
        kind = _CACHE_KINDS.get(machine.text(f"{folder}/type") or "")
        size = _size(machine.text(f"{folder}/size"))
        if level is None:
            break
        if kind and size:
            shared = len(parse_cpu_list(machine.text(f"{folder}/shared_cpu_list")))
            found.append(Cache(level, kind, size, shared or None))
    return tuple(found)


def _size(text: str | None) -> int | None:
    """ "32K", "1024K", "36M" as bytes."""
    if not text or len(text) > 12:
        return None
    number, unit = (text[:-1], _UNITS.get(text[-1])) if text[-1] in _UNITS else (text, 1)
    if not unit or not (number.isascii() and number.isdecimal()):
        return None
    return int(number) * unit
