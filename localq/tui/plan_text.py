"""A plan, a machine, and what was measured, as pictures in text. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from localq.display import age, byte_size, printable
from localq.tui.text import padded, tr

if TYPE_CHECKING:
    from localq.hardware.profile import HardwareProfile
    from localq.planning.measurements import Benchmark, Tuning
    from localq.planning.offload_plan import OffloadPlan

__all__ = ["history", "layers", "machine", "reasons", "tuning"]

_LABEL = 14
_CELLS = 40
_SETTINGS = {
    "n_threads": "threads",
    "n_threads_batch": "threads of prompts",
    "n_gpu_layers": "layers on the GPU",
    "n_ubatch": "tokens at once",
}


def machine(profile: HardwareProfile) -> Text:
    """What was detected."""
    cpu, memory = profile.cpu, profile.memory
    lines = [
        (tr("system"), " ".join(filter(None, (profile.system.os, profile.system.release)))),
        (tr("processor"), cpu.model or cpu.vendor or tr("unknown")),
        (tr("cores"), _cores(profile)),
        (
            tr("memory"),
            tr(
                "{available} of {total} free",
                available=byte_size(memory.available),
                total=byte_size(memory.total),
            )
            if memory
            else tr("unknown"),
        ),
    ]
    lines += [
        ("GPU", " · ".join(filter(None, (gpu.name, byte_size(gpu.total_bytes or 0)))))
        for gpu in profile.accelerators
    ] or [("GPU", tr("none was found"))]
    engine = profile.engine
    lines.append(
        (
            tr("engine"),
            " ".join(filter(None, ("llama-cpp-python", engine.version, *engine.backends)))
            if engine
            else tr("not there"),
        )
    )
    if profile.disk and profile.disk.free_bytes is not None:
        lines.append((tr("disk"), tr("{size} free", size=byte_size(profile.disk.free_bytes))))
    text = Text(overflow="fold")
    for label, value in lines:
        text.append(padded(label, _LABEL), "dim")
        text.append(f"{printable(value)}\n")
    for note in profile.notes:
        text.append(f"\n! {printable(note.text)}\n")
        if note.command:
            text.append(f"→ {printable(note.command)}\n", "dim")
    return text


def layers(plan: OffloadPlan) -> Text:
    """Each layer a mark: on the processor, or on a device (its number)."""
    on_devices = min(plan.n_gpu_layers, plan.n_layers)
    host = plan.n_layers - on_devices
    marks = "░" * host + "█" * on_devices
    per_mark = -(-plan.n_layers // _CELLS)
    text = Text(overflow="fold")
    text.append(tr("layers") + "  ", "bold")
    text.append(marks[::per_mark])
    where = (
        tr("all {count} on the processor", count=plan.n_layers)
        if not on_devices
        else tr("{gpu} of {count} on the GPU", gpu=on_devices, count=plan.n_layers)
    )
    text.append(f"  {where}\n")
    if plan.n_cpu_moe:
        text.append(tr("the experts of {count} layers stay in memory", count=plan.n_cpu_moe) + "\n")
    threads = tr(
        "{threads} threads to write, {batch} to read",
        threads=plan.n_threads,
        batch=plan.n_threads_batch,
    )
    return text.append(f"{threads}\n", "dim")


def reasons(plan: OffloadPlan) -> Text:
    text = Text(overflow="fold")
    for reason in plan.reasons:
        text.append(f"· {printable(reason)}\n", "dim")
    return text


def tuning(found: Tuning | None) -> Text:
    """What tuning measured, a bar for each value that was tried."""
    text = Text(overflow="fold")
    text.append(tr("Tuned") + "\n", "bold")
    if found is None:
        return text.append(tr("Not yet: t measures what is fastest, in about a minute.") + "\n")
    for setting in dict.fromkeys(point.setting for point in found.points):
        points = [point for point in found.points if point.setting == setting]
        best = max(point.speed for point in points)
        text.append(f"{tr(_SETTINGS.get(setting, setting))}\n", "dim")
        for point in sorted(points, key=lambda point: point.value):
            cells = round(point.speed / best * 20) if best else 0
            mark = " ★" if point.speed == best else ""
            text.append(f"{point.value:6d} {'━' * cells} {point.speed:,.1f} tok/s{mark}\n")
    return text


def history(runs: Sequence[Benchmark], now: float) -> Text:
    """What was measured, latest first."""
    text = Text(overflow="fold")
    text.append(tr("Measured") + "\n", "bold")
    if not runs:
        return text.append(tr("Not yet: m measures how fast it is.") + "\n")
    for run in runs[:10]:
        tests = "  ".join(f"{test.name} {test.mean:,.1f}±{test.stddev:.1f}" for test in run.tests)
        text.append(padded(age(run.measured_at, now), 12), "dim")
        text.append(f"{tests} tok/s\n")
    return text


def _cores(profile: HardwareProfile) -> str:
    cpu = profile.cpu
    parts = []
    if cpu.physical_cores:
        parts.append(tr("{count} cores", count=cpu.physical_cores))
    parts.append(tr("{count} threads to begin with", count=cpu.threads))
    return " · ".join(parts)
