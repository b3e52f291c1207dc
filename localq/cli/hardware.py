"""`localq hardware`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size, printable
from localq.messages import listed, msg
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.hardware.profile import (
        Accelerator,
        Cache,
        CpuProfile,
        Device,
        Disk,
        EngineBuild,
        Finding,
        HardwareProfile,
        Memory,
        QuantizeCodecs,
        System,
    )

__all__ = ["command", "lines"]

_UNKNOWN = "unknown"
_SYSTEMS = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
_CACHE_LETTERS = {"data": "d", "instruction": "i", "unified": ""}
# What llama.cpp reports among the instruction sets without their being any.
_BUILD_OPTIONS = ("LLAMAFILE", "ACCELERATE", "CPU_HBM", "OPENMP", "KLEIDIAI", "REPACK")
_INT4 = {"good": "AWQ and GPTQ run well", "works": "AWQ and GPTQ run", "no": "no AWQ or GPTQ"}

Row = tuple[str, str]


@click.command()
@click.option("--disk", is_flag=True, help="Measure the library's disk too (writes 256 MB).")
@json_option
def command(disk: bool, as_json: bool) -> None:
    """Show processors, memory and accelerators, as this machine has them and as the installed
    engine sees them; where the two differ, the command that mends it."""
    from localq.services.machine.hardware import HardwareRequest, inspect_hardware

    request = HardwareRequest(measure_disk=disk)
    with cancel_on_interrupt() as cancel, ProgressDisplay(quiet=as_json) as emit:
        profile = inspect_hardware(Paths.from_environment(), request, emit, cancel)
    if as_json:
        output.json_document(profile)
        return
    for line in lines(profile):
        output.line(line)


def lines(profile: HardwareProfile) -> Iterator[str]:
    """The profile for people."""
    for label, value in _rows(profile):
        yield f"{output.padded(label, 12)} {printable(value)}".rstrip()
    for note in profile.notes:
        yield ""
        yield from _note(note)


def _rows(profile: HardwareProfile) -> Iterator[Row]:
    yield msg("machine"), _system(profile.system)
    yield from _cpu(profile.cpu, profile.engine)
    yield msg("memory"), _memory(profile.memory)
    for gpu in profile.accelerators:
        yield msg("GPU"), _accelerator(gpu)
    if not profile.accelerators:
        yield msg("GPU"), msg("none was found")
    yield msg("engine"), _engine(profile.engine)
    for device in profile.devices:
        if device.kind != "cpu":  # which is told above, and as the container allows
            yield f"  {device.id}", _device(device)
    if profile.codecs:
        yield msg("quantizing"), _codecs(profile.codecs)
    if profile.disk:
        yield msg("disk"), _disk(profile.disk)


def _system(system: System) -> str:
    name = " ".join(filter(None, (_SYSTEMS.get(system.os, system.os), system.release)))
    return _joined(name, "WSL" if system.wsl else None, system.architecture, system.model)


def _cpu(cpu: CpuProfile, engine: EngineBuild | None) -> Iterator[Row]:
    yield msg("processor"), cpu.model or cpu.vendor or _UNKNOWN
    yield msg("  cores"), _cores(cpu)
    if cpu.allowed_cpus is not None and cpu.allowed_cpus != cpu.logical_cores:
        yield (
            msg("  allowed"),
            msg("this process may run on {many}", many=_many(cpu.allowed_cpus, "processor")),
        )
    if cpu.quota_cpus is not None:
        yield (
            msg("  quota"),
            msg("the time of {quota_cpus:g} processors", quota_cpus=cpu.quota_cpus),
        )
    sets = cpu.instruction_sets
    if engine and engine.cpu_features:
        used = [name for name in engine.cpu_features if name not in _BUILD_OPTIONS]
        yield msg("  engine uses"), " ".join(used) or "no special instructions"
        if unused := [name for name in sets if name not in used]:
            yield msg("  unused"), " ".join(unused)
    else:
        yield msg("  has"), " ".join(sets) or _UNKNOWN
    if cpu.caches:
        yield msg("  caches"), ", ".join(map(_cache, cpu.caches))
    yield msg("  threads"), msg("{threads} to begin with", threads=cpu.threads)


def _cores(cpu: CpuProfile) -> str:
    if cpu.physical_cores is None:
        return _many(cpu.logical_cores, "logical processor") if cpu.logical_cores else _UNKNOWN
    cores = _many(cpu.physical_cores, "core")
    if cpu.efficiency_cores:
        kinds = msg(
            "{performance_cores} performance + {efficiency_cores} efficiency",
            performance_cores=cpu.performance_cores,
            efficiency_cores=cpu.efficiency_cores,
        )
        cores = f"{cores} ({kinds})"
    return _joined(
        cores,
        _many(cpu.logical_cores, "thread") if cpu.logical_cores else None,
        f"{cpu.sockets} sockets" if cpu.sockets and cpu.sockets > 1 else None,
        f"{cpu.numa_nodes} NUMA nodes" if cpu.numa_nodes and cpu.numa_nodes > 1 else None,
    )


def _cache(cache: Cache) -> str:
    shared = (
        msg(" for {shared_by} threads", shared_by=cache.shared_by)
        if (cache.shared_by or 1) > 2
        else ""
    )
    return msg(
        "L{level}{cache_letters} {size_bytes}{shared}",
        level=cache.level,
        cache_letters=_CACHE_LETTERS[cache.kind],
        size_bytes=byte_size(cache.size_bytes),
        shared=shared,
    )


def _memory(memory: Memory | None) -> str:
    if memory is None:
        return _UNKNOWN
    swap = None
    if memory.swap_total is not None:
        swap = (
            msg("{swap_total} of swap", swap_total=byte_size(memory.swap_total))
            if memory.swap_total
            else msg("no swap")
        )
    return _joined(
        f"{byte_size(memory.total)}" + (" (the container's limit)" if memory.limit else ""),
        f"{byte_size(memory.available)} available",
        swap,
    )


def _accelerator(gpu: Accelerator) -> str:
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else None
    cuda = (
        msg(
            " (up to CUDA {driver_cuda}.{driver_cuda2})",
            driver_cuda=gpu.driver_cuda[0],
            driver_cuda2=gpu.driver_cuda[1],
        )
        if gpu.driver_cuda
        else ""
    )
    return _joined(
        gpu.name,
        _amount(gpu.total_bytes, gpu.free_bytes, unified=gpu.unified),
        gpu.gfx,
        f"compute {capability}" if capability else None,
        f"driver {gpu.driver}{cuda}" if gpu.driver else None,
        _INT4[gpu.int4] if gpu.int4 else None,
    )


def _engine(engine: EngineBuild | None) -> str:
    if engine is None:
        return _UNKNOWN
    backends = " and ".join(engine.backends) or "no backend"
    return msg(
        "llama-cpp-python {version}, built for {backends}",
        version=engine.version or _UNKNOWN,
        backends=backends,
    )


def _codecs(codecs: QuantizeCodecs) -> str:
    if codecs.instructions is None:
        return msg("the engine's codecs: {reason}", reason=codecs.reason)
    same = codecs.checked - len(codecs.different)
    checked = msg("{same} types give the engine's bytes (checked)", same=same)
    left = (
        msg("the engine's own for {different}", different=", ".join(codecs.different))
        if codecs.different
        else None
    )
    return _joined(f"{codecs.instructions} codecs", checked, left)


def _device(device: Device) -> str:
    if device.kind == "accel":
        return device.description
    amount = _amount(device.total_bytes, device.free_bytes, unified=device.unified)
    return _joined(device.description, amount)


def _disk(disk: Disk) -> str:
    free = msg("an unknown amount") if disk.free_bytes is None else byte_size(disk.free_bytes)
    total = (
        msg(" of {total_bytes}", total_bytes=byte_size(disk.total_bytes))
        if disk.total_bytes
        else ""
    )
    write, read = disk.write_bytes_per_second, disk.read_bytes_per_second
    return _joined(
        f"{disk.path}: {free} free{total}",
        f"writes {byte_size(write)}/s" if write is not None else None,
        f"reads {byte_size(read)}/s" if read is not None else None,
    )


def _note(note: Finding) -> Iterator[str]:
    yield msg("! {text}", text=note.text)
    if note.command:
        yield msg("  try: {command}", command=note.command)
    if note.otherwise:
        yield msg("   or: {otherwise}", otherwise=note.otherwise)


def _amount(total: int | None, free: int | None, *, unified: bool) -> str:
    if total is None:
        return msg("uses the machine's memory") if unified else msg("memory unknown")
    share = msg(" of the machine's memory") if unified else ""
    return (
        byte_size(total)
        + share
        + (msg(", {free} free", free=byte_size(free)) if free is not None else "")
    )


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _joined(*parts: str | None) -> str:
    return listed(part for part in parts if part)
