"""Whether AWQ and GPTQ can be made and run on this machine, and what mends what is missing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from localq.display import byte_size
from localq.errors import LocalqError
from localq.events import Emit, Progress, Unit
from localq.gpu_quant.backend_packages import PACKAGES
from localq.gpu_quant.environments import find
from localq.gpu_quant.examination import Examination, examine
from localq.gpu_quant.installer import find_uv
from localq.hardware.accelerators import accelerators
from localq.hardware.machine import LocalMachine, Machine
from localq.hardware.profile import Accelerator
from localq.messages import msg
from localq.paths import Paths
from localq.services.backends.listing import BackendStatus, list_backends

__all__ = ["BackendReport", "Check", "CheckState", "Int4Support", "backend_report"]

CheckState = Literal["ok", "warning", "missing"]
_LIBRARIES = ("torch", "transformers", "gptqmodel", "autoawq", "auto-gptq", "llmcompressor")
_WITHOUT_GPU = msg("GGUF needs none: localq quantize q4_k_m")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and the command that mends it where that is needed."""

    what: str
    state: CheckState
    found: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Int4Support:
    """Whether INT4 kernels run on a GPU, and why; `supported` None: it could not be told."""

    name: str
    compute_capability: tuple[int, int] | None
    supported: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class BackendReport:
    """`healthy`: whether every backend that is installed works."""

    healthy: bool
    checks: tuple[Check, ...]
    int4: tuple[Int4Support, ...]
    backends: tuple[BackendStatus, ...]


def backend_report(
    paths: Paths,
    emit: Emit,
    cancel: threading.Event,
    machine: Machine | None = None,
) -> BackendReport:
    """Look at everything; loads each installed backend once, which takes some seconds each.

    Emits Progress in packages. Cancelled.
    """
    machine = machine or LocalMachine()
    every = accelerators(machine)
    gpus = [gpu for gpu in every if gpu.vendor == "NVIDIA"]
    backends = list_backends(paths)
    checks = [*_drivers(gpus, machine), *_compilers(), *_room(paths)]
    healthy = True
    installed = [one for one in backends if one.state not in ("not installed", "installing")]
    for done, status in enumerate(installed):
        emit(Progress(msg("looking at backends"), done, len(installed), Unit.PACKAGES, status.name))
        found, works = _backend(paths, status, gpus, cancel)
        checks += found
        healthy = healthy and works
    if not installed:
        checks.append(
            Check(
                msg("backends"),
                "missing",
                msg("none is installed"),
                "localq backend install gptqmodel",
            )
        )
    return BackendReport(healthy, tuple(checks), tuple(map(_int4, every)), backends)


def _drivers(gpus: Sequence[Accelerator], machine: Machine) -> Iterator[Check]:
    if not gpus:
        yield Check(
            msg("NVIDIA driver"),
            "missing",
            msg("no NVIDIA GPU with a driver was found"),
            _WITHOUT_GPU
            if machine.os == "macos"
            else msg("install its driver where there is one; {otherwise}", otherwise=_WITHOUT_GPU),
        )
        return
    first = gpus[0]
    cuda = ".".join(map(str, first.driver_cuda)) if first.driver_cuda else msg("unknown")
    old = first.driver_cuda is not None and first.driver_cuda < (13, 0)
    yield Check(
        msg("NVIDIA driver"),
        "warning" if old else "ok",
        msg("{driver}, runs CUDA up to {cuda}", driver=first.driver or msg("unknown"), cuda=cuda),
        msg("torch here is for CUDA 13: install driver 580 or newer") if old else None,
    )
    for gpu in gpus:
        support = _int4(gpu)
        yield Check(
            msg("GPU"),
            "ok" if support.supported else "warning",
            f"{gpu.name}, {byte_size(gpu.total_bytes)}" if gpu.total_bytes else gpu.name,
            None if support.supported is not False else _WITHOUT_GPU,
        )


def _int4(gpu: Accelerator) -> Int4Support:
    capability = gpu.compute_capability
    shown = ".".join(map(str, capability)) if capability else ""
    if gpu.vendor != "NVIDIA":
        return Int4Support(gpu.name, None, False, msg("no: it is not made for CUDA"))
    match gpu.int4:
        case "good":
            why = msg("yes: compute capability {shown} (8.0 and newer run well)", shown=shown)
        case "works":
            why = msg("yes, slower: compute capability {shown} (8.0 runs well)", shown=shown)
        case "no":
            why = msg("no: compute capability {shown}, and 7.5 is the least", shown=shown)
        case _:
            why = msg("not known: the driver does not tell the compute capability")
    supported = None if gpu.int4 is None else gpu.int4 != "no"
    return Int4Support(gpu.name, capability, supported, why)


def _compilers() -> Iterator[Check]:
    compiler = next((name for name in ("c++", "g++", "clang++", "cl") if shutil.which(name)), None)
    yield Check(
        msg("C++ compiler"),
        "ok" if compiler else "warning",
        compiler or msg("none: some packages and kernels are compiled when they are first used"),
        None if compiler else msg("on Debian and Ubuntu: apt install g++ python3-dev"),
    )
    nvcc = shutil.which("nvcc")
    yield Check(
        "nvcc",
        "ok" if nvcc else "warning",
        nvcc or msg("none: Marlin and ExLlama kernels cannot be compiled; Triton and torch run"),
        None if nvcc else msg("for the fastest kernels, install the CUDA toolkit"),
    )
    uv = find_uv()
    yield Check(
        "uv",
        "ok" if uv else "warning",
        uv or msg("none: pip installs backends, more slowly"),
        None if uv else "pip install uv",
    )


def _room(paths: Paths) -> Iterator[Check]:
    there = next(place for place in (paths.data, *paths.data.parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    least = max(size.download + size.installed for size in PACKAGES["gptqmodel"].sizes.values())
    yield Check(
        msg("disk"),
        "ok" if free > least else "warning",
        msg("{free} free", free=byte_size(free)),
        None if free > least else "localq trash empty",
    )


def _backend(
    paths: Paths, status: BackendStatus, gpus: Sequence[Accelerator], cancel: threading.Event
) -> tuple[list[Check], bool]:
    again = f"localq backend install {status.name} --force"
    environment = find(status.name, paths)
    if environment is None:
        return [Check(status.name, "missing", msg("its Python is gone"), again)], False
    try:
        found = examine(environment.python, PACKAGES[status.name].imports, cancel)
    except LocalqError as error:
        if error.exit_code == 130:
            raise
        return [Check(status.name, "missing", error.message, again)], False
    checks = [
        Check(
            status.name,
            "warning" if status.state == "outdated" else "ok",
            _versions(found),
            f"localq backend install {status.name}" if status.state == "outdated" else None,
        )
    ]
    checks += [
        Check(module, "missing", msg("does not load: {why}", why=why), again)
        for module, why in found.failures.items()
    ]
    checks += _torch(status.name, found, gpus)
    return checks, not found.failures


def _versions(found: Examination) -> str:
    shown = [f"{name} {found.packages[name]}" for name in _LIBRARIES if name in found.packages]
    return f"Python {found.python}, {', '.join(shown)}"


def _torch(name: str, found: Examination, gpus: Sequence[Accelerator]) -> Iterator[Check]:
    if (torch := found.torch) is None:
        return
    if torch.cuda_available:
        seen = ", ".join(gpu.name for gpu in torch.gpus)
        yield Check("torch", "ok", msg("CUDA {cuda} on {seen}", cuda=torch.cuda, seen=seen))
    elif gpus and torch.cuda is None:
        yield Check(
            "torch",
            "warning",
            msg("is for processors, and there is a GPU"),
            f"localq backend install {name} --device cuda",
        )
    elif gpus:
        yield Check(
            "torch",
            "warning",
            msg("is for CUDA {cuda} but sees no GPU", cuda=torch.cuda),
            msg("install a newer NVIDIA driver; nvidia-smi says what there is"),
        )
    triton = found.packages.get("triton")
    yield Check(
        msg("kernels"),
        "ok" if torch.cuda_available and triton else "warning",
        msg("torch, Triton {triton}", triton=triton)
        if triton
        else msg("torch alone; Triton, Marlin and ExLlama need CUDA"),
    )
