"""The operating system around the hardware: its kind, WSL, translated processes."""

from __future__ import annotations

from localq.hardware.machine import Machine
from localq.hardware.macos import sysctl_int, sysctl_text
from localq.hardware.profile import System

__all__ = ["is_translated", "system"]


def system(machine: Machine) -> System:
    """What the kernel calls itself and, where it is known, the whole machine."""
    return System(
        os=machine.os,
        release=_release(machine),
        model=_model(machine),
        architecture=machine.architecture or None,
        wsl=machine.os == "linux" and "microsoft" in machine.release.lower(),
    )


def is_translated(machine: Machine) -> bool:
    """Whether this process is an Intel program on an Apple processor."""
    return machine.os == "macos" and sysctl_int(machine, "sysctl.proc_translated") == 1


def _release(machine: Machine) -> str | None:
    # macOS's kernel counts in another way than macOS does.
    mac = sysctl_text(machine, "kern.osproductversion") if machine.os == "macos" else None
    return mac or machine.release or None


def _model(machine: Machine) -> str | None:
    if machine.os == "macos":
        return sysctl_text(machine, "hw.model")
    if machine.os != "linux":
        return None
    board = machine.text("/proc/device-tree/model")  # ends with a NUL
    return (board or "").strip("\0 ") or None
