"""What is known about a machine: the types, and nothing that finds it out.

All sizes are bytes. What a machine does not say is None, or empty where it is a tuple; it is
never a guess. Names and descriptions come from outside and may hold anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = [
    "Accelerator",
    "Cache",
    "CacheKind",
    "CpuProfile",
    "Device",
    "DeviceKind",
    "Disk",
    "EngineBuild",
    "Finding",
    "HardwareProfile",
    "Int4",
    "Memory",
    "QuantizeCodecs",
    "System",
]

CacheKind = Literal["data", "instruction", "unified"]
DeviceKind = Literal["cpu", "gpu", "igpu", "accel"]
Int4 = Literal["good", "works", "no"]


@dataclass(frozen=True, slots=True)
class System:
    """The operating system; `os` is "linux", "macos", "windows" or what Python calls it."""

    os: str
    release: str | None = None
    model: str | None = None
    """Of the whole machine: "Raspberry Pi 5 Model B Rev 1.0", "Mac15,12"."""
    architecture: str | None = None
    """Of the processor, as the kernel names it: "x86_64", "aarch64", "arm64", "AMD64"."""
    wsl: bool = False


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache of the first core; `shared_by` logical CPUs use it together."""

    level: int
    kind: CacheKind
    size_bytes: int
    shared_by: int | None = None


@dataclass(frozen=True, slots=True)
class CpuProfile:
    """The processors. Counts are of the whole machine, except where they say otherwise."""

    threads: int
    """To begin generation with: performance cores this process may use, within its quota."""
    threads_batch: int
    """The same for prompts."""
    model: str | None = None
    vendor: str | None = None
    architecture: str | None = None
    sockets: int | None = None
    numa_nodes: int | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    performance_cores: int | None = None
    """Physical cores of the fast kind; all of them where there is one kind."""
    efficiency_cores: int | None = None
    smt: bool | None = None
    """Whether a core runs more than one thread at a time."""
    allowed_cpus: int | None = None
    """Logical CPUs this process may run on."""
    quota_cpus: float | None = None
    """Processors' worth of time a container grants; None: no limit is known."""
    instruction_sets: tuple[str, ...] = ()
    """Those that llama.cpp has code for, by its names: "AVX2", "AVX512_VNNI", "DOTPROD"."""
    caches: tuple[Cache, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process could use: physical memory, or less where a container limits it."""

    total: int
    available: int
    swap_total: int | None = None
    swap_free: int | None = None
    limit: int | None = None
    """The container's limit, where there is one that is below the machine's memory."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the installed engine sees it (ggml's backend registry)."""

    id: str
    """What llama.cpp's `--device` takes: "CUDA0", "Vulkan0", "MTL0", "RPC0", "CPU"."""
    description: str
    backend: str
    """ "CUDA", "Metal", "Vulkan", "ROCm", "SYCL", "RPC", "BLAS", "CPU", ... """
    kind: DeviceKind
    total_bytes: int | None = None
    free_bytes: int | None = None
    unified: bool = False
    """Whether its memory is the machine's own."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU as the machine has it, whether or not the engine can use it."""

    name: str
    vendor: str
    """ "NVIDIA", "AMD", "Intel", "Apple", or what the system says. """
    source: str
    """Who says so: "nvidia-smi", "sysfs", "system_profiler", ..."""
    total_bytes: int | None = None
    """Of memory; what the system lets a GPU use of its own memory where that is `unified`."""
    free_bytes: int | None = None
    unified: bool = False
    driver: str | None = None
    driver_cuda: tuple[int, int] | None = None
    """The newest CUDA version the driver can run."""
    compute_capability: tuple[int, int] | None = None
    gfx: str | None = None
    """AMD's name for the architecture, such as "gfx1100"."""
    int4: Int4 | None = None
    """Whether AWQ and GPTQ kernels run on it, by compute capability: 7.5 works, 8.0 is good."""


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """The installed llama.cpp."""

    version: str | None
    """Of llama-cpp-python."""
    backends: tuple[str, ...] = ()
    """Those it was built with and could load: "CPU", "CUDA", ..."""
    cpu_features: tuple[str, ...] = ()
    """Instruction sets it uses on this machine, by the names of `instruction_sets`."""
    supports_gpu_offload: bool | None = None


@dataclass(frozen=True, slots=True)
class QuantizeCodecs:
    """What numbers are quantized with: localq's own encoders, or those of the engine."""

    instructions: str | None
    """Of localq's own: "AVX-512"; None: the engine's do all the work."""
    reason: str | None = None
    """Why the engine's do."""
    checked: int = 0
    """Tensor types whose bytes were compared with the engine's just now."""
    different: tuple[str, ...] = ()
    """Those that the engine wrote otherwise, which are therefore left to it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the user would want to know; `command` mends it, where a command can."""

    text: str
    command: str | None = None
    otherwise: str | None = None
    """A second way, for who cannot take the first."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that holds the library."""

    path: Path
    total_bytes: int | None = None
    free_bytes: int | None = None
    """What this user may fill."""
    write_bytes_per_second: float | None = None
    """Measured in one go, to the end of an fsync; None: not measured."""
    read_bytes_per_second: float | None = None
    """Measured in one go, past the system's file cache."""


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """Everything that was found out about this machine."""

    system: System
    cpu: CpuProfile
    memory: Memory | None = None
    devices: tuple[Device, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    engine: EngineBuild | None = None
    """None: it was not asked, or is not installed."""
    codecs: QuantizeCodecs | None = None
    """None: nobody asked."""
    disk: Disk | None = None
    notes: tuple[Finding, ...] = ()
