"""The processors, and how many threads are worth starting on them.

Token generation waits for memory, so a second thread on the same core, or one on an efficiency
core that the others then wait for, costs more than it brings; and threads beyond a container's
quota are stopped for most of every period. Prompts begin with as many: they are bound by
arithmetic, to which a second thread on the same core adds little.
"""

from __future__ import annotations

from localq.hardware.cpu_linux import linux_cpu, linux_threads
from localq.hardware.machine import LocalMachine, Machine
from localq.hardware.macos import macos_cpu
from localq.hardware.profile import CpuProfile
from localq.hardware.windows_topology import Core, parse_topology

__all__ = ["cpu_profile", "cpu_threads"]

# winnt.h: IsProcessorFeaturePresent has no more to say about what llama.cpp uses.
_WINDOWS_FEATURES = {
    13: "SSE3",
    36: "SSSE3",
    39: "AVX",
    40: "AVX2",
    41: "AVX512",
    60: "BMI2",
    19: "NEON",
    43: "DOTPROD",
    46: "SVE",
}


def cpu_threads(machine: Machine | None = None) -> int:
    """The number of threads to begin with: performance cores this process may use, at least 1."""
    machine = machine or LocalMachine()
    return linux_threads(machine) if machine.os == "linux" else cpu_profile(machine).threads


def cpu_profile(machine: Machine) -> CpuProfile:
    """What the machine says about its processors."""
    if machine.os == "linux":
        return linux_cpu(machine)
    if machine.os == "macos":
        return macos_cpu(machine)
    if machine.os == "windows":
        return _windows_cpu(machine)
    count = len(machine.allowed_cpus() or ())
    threads = max(1, count)
    return CpuProfile(
        threads=threads,
        threads_batch=threads,
        architecture=machine.architecture or None,
        allowed_cpus=count or None,
    )


def _windows_cpu(machine: Machine) -> CpuProfile:
    answers = machine.windows()
    topology = parse_topology(answers.processors)
    cores = topology.cores
    logical = frozenset[int]().union(*(core.cpus for core in cores))
    allowed = machine.allowed_cpus() or logical
    fast = _fastest(cores)
    usable = [core for core in cores if core.cpus & allowed]
    threads = max(1, len(_fastest(tuple(usable))))
    return CpuProfile(
        threads=threads,
        threads_batch=threads,
        model=answers.processor,
        vendor=answers.vendor,
        architecture=machine.architecture or None,
        sockets=topology.packages or None,
        numa_nodes=topology.nodes or None,
        physical_cores=len(cores) or None,
        logical_cores=len(logical) or None,
        performance_cores=len(fast) or None,
        efficiency_cores=len(cores) - len(fast) if cores else None,
        smt=any(len(core.cpus) > 1 for core in cores) if cores else None,
        allowed_cpus=len(allowed) or None,
        instruction_sets=tuple(
            name for number, name in _WINDOWS_FEATURES.items() if number in answers.features
        ),
        caches=topology.caches,
    )


def _fastest(cores: tuple[Core, ...]) -> tuple[Core, ...]:
    best = max((core.efficiency_class for core in cores), default=0)
    return tuple(core for core in cores if core.efficiency_class == best)
