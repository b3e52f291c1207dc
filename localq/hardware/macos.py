"""What macOS says through sysctl: processors and memory."""

from __future__ import annotations

from localq.hardware.machine import Machine
from localq.hardware.profile import Cache, CacheKind, CpuProfile, Memory

__all__ = ["macos_cpu", "macos_memory", "sysctl_int", "sysctl_text"]

# What can be had without swapping: free pages, those apps called discardable, and file cache.
_AVAILABLE_PAGES = (
    "vm.page_free_count",
    "vm.page_purgeable_count",
    "vm.page_pageable_external_count",
)
# In the order of llama.cpp's own report; macOS has another name for it on each processor.
_FEATURES: tuple[tuple[str, str], ...] = (
    ("NEON", "hw.optional.neon"),
    ("ARM_FMA", "hw.optional.neon"),
    ("DOTPROD", "hw.optional.arm.FEAT_DotProd"),
    ("FP16_VA", "hw.optional.arm.FEAT_FP16"),
    ("MATMUL_INT8", "hw.optional.arm.FEAT_I8MM"),
    ("SME", "hw.optional.arm.FEAT_SME"),
    ("SME2", "hw.optional.arm.FEAT_SME2"),
    ("SSE3", "hw.optional.sse3"),
    ("SSSE3", "hw.optional.supplementalsse3"),
    ("AVX", "hw.optional.avx1_0"),
    ("AVX2", "hw.optional.avx2_0"),
    ("F16C", "hw.optional.f16c"),
    ("FMA", "hw.optional.fma"),
    ("BMI2", "hw.optional.bmi2"),
    ("AVX512", "hw.optional.avx512f"),
    ("AVX512_VBMI", "hw.optional.avx512vbmi"),
)


def macos_cpu(machine: Machine) -> CpuProfile:
    """The processors of a Mac, of either make."""

    def number(name: str) -> int | None:
        return sysctl_int(machine, name) or None

    physical, logical = number("hw.physicalcpu"), number("hw.logicalcpu")
    fast = number("hw.perflevel0.physicalcpu")
    slow = number("hw.perflevel1.physicalcpu")
    threads = max(1, fast or physical or logical or 1)
    return CpuProfile(
        threads=threads,
        threads_batch=threads,
        model=sysctl_text(machine, "machdep.cpu.brand_string"),
        vendor=sysctl_text(machine, "machdep.cpu.vendor") or ("Apple" if fast else None),
        architecture=machine.architecture or None,
        sockets=number("hw.packages"),
        physical_cores=physical,
        logical_cores=logical,
        performance_cores=fast or physical,
        efficiency_cores=slow or (0 if physical else None),
        smt=logical > physical if logical and physical else None,
        allowed_cpus=logical,
        instruction_sets=tuple(name for name, flag in _FEATURES if number(flag)),
        caches=_caches(machine),
    )


def macos_memory(machine: Machine) -> Memory | None:
    """The memory of a Mac; None where it does not say."""
    total = sysctl_int(machine, "hw.memsize")
    if not total:
        return None
    page = sysctl_int(machine, "hw.pagesize") or 4096
    pages = sum(sysctl_int(machine, name) or 0 for name in _AVAILABLE_PAGES)
    swap = machine.sysctl("vm.swapusage") or b""  # struct xsw_usage: total, avail, used, ...
    known = len(swap) >= 16
    return Memory(
        total,
        min(pages * page, total),
        swap_total=int.from_bytes(swap[:8], "little") if known else None,
        swap_free=int.from_bytes(swap[8:16], "little") if known else None,
    )


def sysctl_int(machine: Machine, name: str) -> int | None:
    """An integer value, of 4 or 8 bytes (every Mac is little-endian)."""
    value = machine.sysctl(name)
    return int.from_bytes(value, "little") if value and len(value) in (4, 8) else None


def sysctl_text(machine: Machine, name: str) -> str | None:
    value = machine.sysctl(name)
    return (value.split(b"\0")[0].decode("utf-8", "replace").strip() or None) if value else None


def _caches(machine: Machine) -> tuple[Cache, ...]:
    """Those of a performance core, or of any where there is one kind."""
    kinds: tuple[tuple[int, CacheKind, str], ...] = (
        (1, "data", "l1dcachesize"),
        (1, "instruction", "l1icachesize"),
        (2, "unified", "l2cachesize"),
        (3, "unified", "l3cachesize"),
    )
    found: list[Cache] = []
    for level, kind, name in kinds:
        size = sysctl_int(machine, f"hw.perflevel0.{name}") or sysctl_int(machine, f"hw.{name}")
        shared = sysctl_int(machine, "hw.perflevel0.cpusperl2") if level == 2 else None
        if size:
            found.append(Cache(level, kind, size, shared))
    return tuple(found)
