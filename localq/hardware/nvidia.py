"""NVIDIA's GPUs, as nvidia-smi tells of them, or else the driver's files in /proc."""

from __future__ import annotations

import re
from collections.abc import Mapping

from localq.hardware.machine import Machine, decimal
from localq.hardware.profile import Accelerator, Int4

__all__ = ["driver_cuda", "int4_suitability", "nvidia_accelerators", "parse_nvidia_smi"]

_FIELDS = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")
_QUERY = (f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
# Drivers before 510 do not know compute_cap and refuse the whole question.
_OLD_FIELDS = _FIELDS[:4]
_OLD_QUERY = (f"--query-gpu={','.join(_OLD_FIELDS)}", "--format=csv,noheader,nounits")
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "linux": ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"),
    "windows": ("nvidia-smi", r"C:\Windows\System32\nvidia-smi.exe"),
}
# The newest CUDA each branch of drivers can run (CUDA Toolkit release notes, table 3).
_DRIVER_CUDA: Mapping[int, tuple[int, int]] = {
    450: (11, 0),
    455: (11, 1),
    460: (11, 2),
    465: (11, 3),
    470: (11, 4),
    495: (11, 5),
    510: (11, 6),
    515: (11, 7),
    520: (11, 8),
    525: (12, 0),
    530: (12, 1),
    535: (12, 2),
    545: (12, 3),
    550: (12, 4),
    555: (12, 5),
    560: (12, 6),
    565: (12, 7),
    570: (12, 8),
    575: (12, 9),
    580: (13, 0),
    590: (13, 1),
    595: (13, 2),
}
_MIB = 1 << 20
_MAX_GPUS = 64
_VERSION = re.compile(r"(\d{1,4})\.\d[\d.]*")
_PROC_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d{1,4}\.\d[\d.]*)")
_CAPABILITY = re.compile(r"(\d{1,3})\.(\d{1,3})")


def nvidia_accelerators(machine: Machine) -> tuple[Accelerator, ...]:
    """The GPUs that NVIDIA's driver knows; without the driver there are none here."""
    for program in _PROGRAMS.get(machine.os, ()):
        output = machine.run((program, *_QUERY))
        if output is None:
            continue
        if found := parse_nvidia_smi(output.text):
            return found
        if (older := machine.run((program, *_OLD_QUERY))) and (
            found := parse_nvidia_smi(older.text)
        ):
            return found
        break
    return _from_proc(machine) if machine.os == "linux" else ()


def parse_nvidia_smi(text: str) -> tuple[Accelerator, ...]:
    """The GPUs in the answer to a query for name, driver, memory in MiB, and capability."""
    found: list[Accelerator] = []
    for line in text.splitlines()[:_MAX_GPUS]:
        cells = [cell.strip() for cell in line.split(",")]
        # A sentence, such as "NVIDIA-SMI has failed because ...", has no driver's version.
        if len(cells) not in (4, 5) or not _VERSION.fullmatch(cells[1]):
            continue
        name, driver, total, free = cells[:4]
        if name == "ERR!" or name.startswith("["):  # as of every field that it cannot read
            name = "NVIDIA graphics"
        capability = _capability(cells[4]) if len(cells) == 5 else None
        found.append(
            Accelerator(
                name=name,
                vendor="NVIDIA",
                source="nvidia-smi",
                total_bytes=_mebibytes(total),
                free_bytes=_mebibytes(free),
                unified=total == "[N/A]",
                driver=driver,
                driver_cuda=driver_cuda(driver),
                compute_capability=capability,
                int4=int4_suitability(capability),
            )
        )
    return tuple(found)


def int4_suitability(capability: tuple[int, int] | None) -> Int4 | None:
    """Whether AWQ and GPTQ kernels run: from Turing (7.5); well from Ampere (8.0)."""
    if capability is None:
        return None
    if capability >= (8, 0):
        return "good"
    return "works" if capability >= (7, 5) else "no"


def driver_cuda(driver: str) -> tuple[int, int] | None:
    """The newest CUDA that a driver of this version can run, as far as is known here."""
    match = _VERSION.fullmatch(driver)
    if not match:
        return None
    branch = int(match[1])
    return max((cuda for first, cuda in _DRIVER_CUDA.items() if first <= branch), default=None)


def _from_proc(machine: Machine) -> tuple[Accelerator, ...]:
    version = _PROC_VERSION.search(machine.text("/proc/driver/nvidia/version") or "")
    driver = version[1] if version else None
    found: list[Accelerator] = []
    for gpu in machine.names("/proc/driver/nvidia/gpus")[:_MAX_GPUS]:
        text = machine.text(f"/proc/driver/nvidia/gpus/{gpu}/information") or ""
        fields = dict(line.partition(":")[::2] for line in text.splitlines())
        if name := fields.get("Model", "").strip():
            found.append(
                Accelerator(
                    name=name,
                    vendor="NVIDIA",
                    source="/proc/driver/nvidia",
                    driver=driver,
                    driver_cuda=driver_cuda(driver) if driver else None,
                )
            )
    return tuple(found)


def _mebibytes(text: str) -> int | None:
    """ "24564" as bytes; "[N/A]", which one with the machine's memory answers, is None."""
    number = decimal(text)
    return number * _MIB if number else None


def _capability(text: str) -> tuple[int, int] | None:
    match = _CAPABILITY.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None
