"""Everything that can be found out about a machine, put together."""

from __future__ import annotations

from dataclasses import replace

from localq.hardware.accelerators import accelerators
from localq.hardware.advice import findings
from localq.hardware.cpu import cpu_profile
from localq.hardware.installation import Installer
from localq.hardware.machine import Machine
from localq.hardware.memory import memory
from localq.hardware.profile import Device, EngineBuild, Finding, HardwareProfile
from localq.hardware.system import system

__all__ = ["detect", "with_engine"]


def detect(machine: Machine) -> HardwareProfile:
    """The machine by itself, without asking the engine."""
    return HardwareProfile(
        system=system(machine),
        cpu=cpu_profile(machine),
        memory=memory(machine),
        accelerators=accelerators(machine),
    )


def with_engine(
    machine: Machine,
    profile: HardwareProfile,
    engine: EngineBuild | None,
    devices: tuple[Device, ...],
    installer: Installer,
    problems: tuple[Finding, ...] = (),
) -> HardwareProfile:
    """The profile with what the engine sees, and with what follows from both together.

    `problems` are those of asking the engine; they come first among the notes.
    """
    whole = replace(profile, engine=engine, devices=devices)
    return replace(whole, notes=(*problems, *findings(machine, whole, installer)))
