"""Find out what this machine has and what the installed engine makes of it."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace

from localq.engine.devices import EngineReport, ask_engine
from localq.errors import Cancelled, EngineError, LocalqError, StorageError
from localq.events import Emit, Progress, Started
from localq.hardware.advice import engine_problem
from localq.hardware.detect import detect, with_engine
from localq.hardware.disk import disk_space, measure_disk
from localq.hardware.machine import LocalMachine, Machine
from localq.hardware.profile import Device, EngineBuild, Finding, HardwareProfile, QuantizeCodecs
from localq.messages import msg
from localq.paths import Paths
from localq.services.machine.engine import engine_finding, installer_for

__all__ = [
    "HardwareRequest",
    "engine_facts",
    "inspect_hardware",
    "machine_profile",
]

_POLL_SECONDS = 0.05  # how late a cancel may be noticed
_HOST_KINDS = ("cpu", "igpu")


@dataclass(frozen=True, slots=True)
class HardwareRequest:
    """What to look at besides that which takes no time."""

    measure_disk: bool = False
    """Write and read a file in the library's folder."""


def inspect_hardware(
    paths: Paths, request: HardwareRequest, emit: Emit, cancel: threading.Event
) -> HardwareProfile:
    """Everything about this machine. What cannot be read is unknown, never an error; Cancelled."""
    profile = machine_profile(cancel)
    profile = replace(profile, disk=disk_space(paths.models), codecs=_quantize_codecs())
    if not request.measure_disk:
        return profile
    emit(Started(msg("measuring the disk")))

    def on_progress(done: int, total: int) -> None:
        emit(Progress(msg("measuring the disk"), done, total))

    try:
        disk = measure_disk(paths.partial, cancel=cancel, on_progress=on_progress)
    except StorageError as error:
        return replace(profile, notes=(*profile.notes, Finding(error.message)))
    return replace(profile, disk=replace(disk, path=paths.models))


def _quantize_codecs() -> QuantizeCodecs | None:
    """What quantizing computes with; compares all types with the engine, which takes a tenth of a
    second. None where the engine cannot be loaded."""
    from localq.quantize.codecs.fast import load_fast_codecs

    try:
        return load_fast_codecs().report()
    except EngineError:
        return None


def machine_profile(cancel: threading.Event | None = None) -> HardwareProfile:
    """The machine and its engine, without the disk. Takes about a quarter of a second, most of
    it for a process that asks the engine. Cancelled."""
    answers: queue.SimpleQueue[EngineReport | LocalqError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(ask_engine())
        except LocalqError as error:
            answers.put(error)

    # A thread that nobody waits for after a cancel: drivers may take their time.
    threading.Thread(target=ask, name="engine devices", daemon=True).start()
    machine = LocalMachine()
    profile = detect(machine)
    while True:
        if cancel and cancel.is_set():
            raise Cancelled("stopped")
        try:
            answer = answers.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        return _together(machine, profile, answer)


def _together(
    machine: Machine, profile: HardwareProfile, answer: EngineReport | LocalqError
) -> HardwareProfile:
    installer = installer_for(machine)
    if isinstance(answer, EngineError):
        problem = engine_problem(answer.message, installer)
        return with_engine(machine, profile, None, (), installer, (problem,))
    if isinstance(answer, LocalqError):  # a setting that makes no sense
        raise answer
    engine, devices = engine_facts(answer, installer.engine_version)
    fault = engine_finding(Paths.from_environment(), installer, engine.backends)
    return with_engine(machine, profile, engine, devices, installer, (fault,) if fault else ())


def engine_facts(
    report: EngineReport, version: str | None
) -> tuple[EngineBuild, tuple[Device, ...]]:
    """The engine's report in the terms of a profile."""
    devices = tuple(
        Device(
            id=device.id,
            description=device.description,
            backend=device.backend,
            kind=device.kind,
            total_bytes=device.total_bytes or None,
            free_bytes=device.free_bytes if device.total_bytes else None,
            unified=device.kind in _HOST_KINDS or device.backend == "Metal",
        )
        for device in report.devices
    )
    build = EngineBuild(version, report.backends, report.cpu_features, report.supports_gpu_offload)
    return build, devices
