"""A plan, a machine, and what was measured, as pictures in text. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from localq.display import age, byte_size, printable
from localq.messages import msg, translate
from localq.tui.job_text import bar
from localq.tui.text import padded, tr

if TYPE_CHECKING:
    from localq.hardware.profile import HardwareProfile
    from localq.jobs import Job
    from localq.planning.measurements import Benchmark, Tuning, TuningPoint
    from localq.planning.offload_plan import OffloadPlan

__all__ = ["history", "layers", "machine", "machine_in_short", "reasons", "tuning", "tuning_now"]

_LABEL = 14
_CELLS = 32
_SPEED_CELLS = 20
_RUNS = 10
_SETTINGS = {
    "n_threads": msg("threads"),
    "n_threads_batch": msg("threads of prompts"),
    "n_gpu_layers": msg("layers on the GPU"),
    "n_ubatch": msg("tokens at once"),
}


def machine(profile: HardwareProfile) -> Text:
    """What was detected."""
    cpu = profile.cpu
    lines = [
        (tr("system"), " ".join(filter(None, (profile.system.os, profile.system.release)))),
        (tr("processor"), cpu.model or cpu.vendor or tr("unknown")),
        (tr("cores"), _cores(profile)),
        (tr("memory"), _memory(profile)),
    ]
    lines += [("GPU", gpu) for gpu in _gpus(profile) or [tr("none was found")]]
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


def machine_in_short(profile: HardwareProfile) -> Text:
    """What matters most of it, in two lines."""
    cpu, memory = profile.cpu, profile.memory
    first = [cpu.model or cpu.vendor or tr("unknown"), _cores(profile)]
    second = [_memory(profile)] if memory else []
    second += _gpus(profile)
    text = Text(overflow="ellipsis", no_wrap=True)
    text.append(printable(" · ".join(first)))
    text.append("\n" + printable(" · ".join(second)))
    for note in profile.notes:
        text.append(f"\n! {printable(note.text)}")
    return text


def _memory(profile: HardwareProfile) -> str:
    memory = profile.memory
    if memory is None:
        return tr("unknown")
    return tr(
        "{available} of {total} free",
        available=byte_size(memory.available),
        total=byte_size(memory.total),
    )


def _gpus(profile: HardwareProfile) -> list[str]:
    """What the system knows of; where it knows of none, what the engine can use."""
    cards = [(gpu.name, gpu.total_bytes) for gpu in profile.accelerators] or [
        (device.description, device.total_bytes)
        for device in profile.devices
        if device.kind in ("gpu", "igpu")
    ]
    return [f"{name or ''} {byte_size(size or 0)}".strip() for name, size in cards]


def layers(plan: OffloadPlan) -> Text:
    """Which layers go where, the output last: a row for the processor and for each device, with a
    mark for each layer, or for a few where there are many."""
    cells = min(plan.n_layers, _CELLS)
    rows = _rows(plan)
    width = max(cell_len(name) for name, _, _ in rows)
    text = Text(overflow="fold")
    text.append(tr("Layers") + "\n", "bold")
    for name, first, count in rows:
        text.append(padded(name, width) + "  ", "dim")
        for cell in range(cells):
            layer = (2 * cell + 1) * plan.n_layers // (2 * cells)
            here = first <= layer < first + count
            text.append("█" if here else "·", "" if here else "dim")
        text.append(f"  {count}\n")
    if plan.n_cpu_moe:
        text.append(tr("the experts of {count} layers stay in memory", count=plan.n_cpu_moe) + "\n")
    threads = tr(
        "{threads} threads to write, {batch} to read",
        threads=plan.n_threads,
        batch=plan.n_threads_batch,
    )
    return text.append(f"{threads}\n", "dim")


def _rows(plan: OffloadPlan) -> list[tuple[str, int, int]]:
    """Of the processor and each device: its name, its first layer, and how many it has."""
    on_devices = min(plan.n_gpu_layers, plan.n_layers)
    first = plan.n_layers - on_devices
    rows = [(tr("processor"), 0, first)]
    names = [device.name for device in plan.estimate.devices if device.name != "host"]
    left = [max(round(count), 0) for count in plan.tensor_split or (on_devices,)]
    for name, count in zip(names, left, strict=False):
        taken = min(count, plan.n_layers - first)
        rows.append((printable(name), first, taken))
        first += taken
    return rows


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
    return text.append_text(speeds(found.points))


def tuning_now(job: Job, points: Sequence[TuningPoint]) -> Text:
    """What a tuning that runs has measured so far."""
    text = Text(overflow="fold")
    text.append(tr("Tuning now") + "\n", "bold")
    text.append(f"{bar(job.progress, 24)}\n")
    if job.progress.stage:
        text.append(f"{printable(tr(job.progress.stage))}\n", "dim")
    return text.append_text(speeds(points))


def speeds(points: Sequence[TuningPoint]) -> Text:
    """A bar for each value of each setting that was tried; the fastest of each is marked."""
    text = Text(overflow="fold")
    for setting in dict.fromkeys(point.setting for point in points):
        tried = [point for point in points if point.setting == setting]
        best = max(point.speed for point in tried)
        text.append(f"{translate(_SETTINGS.get(setting, setting))}\n", "dim")
        for point in sorted(tried, key=lambda point: point.value):
            mark = " ★" if point.speed == best else ""
            text.append(
                f"{point.value:6d} {_bar(point.speed, best)} {point.speed:,.1f} tok/s{mark}\n"
            )
    return text


def history(runs: Sequence[Benchmark], now: float) -> Text:
    """What was measured, latest first: a bar for the speed of writing."""
    text = Text(overflow="fold")
    text.append(tr("Measured"), "bold")
    text.append("  tok/s\n" if runs else "\n", "dim")
    if not runs:
        return text.append(tr("Not yet: m measures how fast it is.") + "\n")
    shown = runs[:_RUNS]
    best = max((_writing(run) for run in shown), default=0.0)
    for run in shown:
        tests = "  ".join(f"{test.name} {test.mean:,.1f}±{test.stddev:.1f}" for test in run.tests)
        text.append(padded(age(run.measured_at, now), 12), "dim")
        text.append(f" {_bar(_writing(run), best)}\n")
        text.append(f"  {tests}\n")
    return text


def _writing(run: Benchmark) -> float:
    """Tokens per second of what it wrote; of what it read where it wrote nothing."""
    written = [test.mean for test in run.tests if test.name.startswith("tg")]
    return max(written or [test.mean for test in run.tests], default=0.0)


def _bar(value: float, most: float) -> str:
    return "━" * max(round(value / most * _SPEED_CELLS), 1) if most > 0 else ""


def _cores(profile: HardwareProfile) -> str:
    cpu = profile.cpu
    parts = []
    if cpu.physical_cores:
        parts.append(tr("{count} cores", count=cpu.physical_cores))
    parts.append(tr("{count} threads to begin with", count=cpu.threads))
    return " · ".join(parts)
