"""GPUs as the machine has them, whether or not the engine can use them."""

from __future__ import annotations

import re

from localq.hardware.apple import apple_accelerators
from localq.hardware.drm import drm_accelerators
from localq.hardware.machine import Machine
from localq.hardware.nvidia import nvidia_accelerators
from localq.hardware.profile import Accelerator

__all__ = ["accelerators"]

_WINDOWS_VENDORS = {
    "nvidia": "NVIDIA",
    "advanced micro devices": "AMD",
    "amd": "AMD",
    "intel": "Intel",
    "qualcomm": "Qualcomm",
}
_INTEL_CARD = re.compile(r"\b[AB]\d{2,3}M?\b")
_SOFTWARE = "microsoft"  # the adapter of a remote session, or where no driver is installed


def accelerators(machine: Machine) -> tuple[Accelerator, ...]:
    """All of them, each once; NVIDIA's as its own driver tells, where there is one."""
    if machine.os == "macos":
        return apple_accelerators(machine)
    if machine.os not in ("linux", "windows"):
        return ()
    nvidia = nvidia_accelerators(machine)
    others = drm_accelerators(machine) if machine.os == "linux" else _from_registry(machine)
    return (*nvidia, *(a for a in others if not (nvidia and a.vendor == "NVIDIA")))


def _from_registry(machine: Machine) -> tuple[Accelerator, ...]:
    found: list[Accelerator] = []
    for adapter in machine.windows().adapters:
        provider = (adapter.provider or "").lower()
        vendor = next((v for k, v in _WINDOWS_VENDORS.items() if provider.startswith(k)), None)
        if provider.startswith(_SOFTWARE):
            continue
        # Intel's cards have a letter and a number; "Arc(TM) Graphics" is beside a processor.
        # AMD's are "Radeon(TM) Graphics" or "Radeon 780M Graphics" there, a card "Radeon RX 7600".
        unified = (
            vendor == "Qualcomm"
            or (vendor == "Intel" and not _INTEL_CARD.search(adapter.name))
            or (vendor == "AMD" and adapter.name.endswith("Graphics"))
        )
        found.append(
            Accelerator(
                name=adapter.name,
                vendor=vendor or adapter.provider or "unknown",
                source="registry",
                total_bytes=None if unified else adapter.memory_bytes,
                unified=unified,
                driver=adapter.driver,
            )
        )
    return tuple(found)
