"""`localq tune [MODEL]`"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.planning.measurements import TuningPoint
    from localq.services.measure.tune import TuneResult

__all__ = ["command"]

_BAR = 40
_TITLES = {
    "n_threads": ("generation", "threads"),
    "n_threads_batch": ("prompts", "threads"),
    "n_gpu_layers": ("generation", "layers on devices"),
    "n_ubatch": ("prompts", "tokens at a time"),
}


@click.command()
@optional_model
@click.option(
    "--budget", type=float, default=60.0, show_default=True, help="Seconds it may take in all."
)
@click.option(
    "--force",
    is_flag=True,
    help="Try even where the model cannot fit; keep what is found on a busy machine.",
)
@json_option
def command(model: str | None, budget: float, force: bool, as_json: bool) -> None:
    """Measure MODEL with several numbers of threads and sizes of batches, and keep the fastest:
    run, chat and plan use them from then on, for every model of the same shape and type. While
    other programs are at work, what was found is shown, but not kept without --force.

    MODEL is a name or a .gguf file; without it, the model pulled, made or used last.
    """
    from localq.services.measure.tune import TuneRequest, tune

    request = TuneRequest(model, budget, force)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = tune(library, request, emit, cancel)
    if as_json:
        output.json_document(result)
    else:
        _show(result)


def _show(result: TuneResult) -> None:
    tuning, planned = result.tuning, result.planned
    chosen: dict[str, int | None] = {
        "n_threads": tuning.n_threads,
        "n_threads_batch": tuning.n_threads_batch,
        "n_gpu_layers": tuning.n_gpu_layers,
        "n_ubatch": tuning.n_ubatch or planned.n_ubatch,
    }
    output.line(msg("{model} ({quant})", model=result.model, quant=result.subject.quant))
    output.line(result.machine_name)
    for setting, (title, unit) in _TITLES.items():
        points = [point for point in tuning.points if point.setting == setting]
        if len(points) > 1:
            output.line("")
            output.line(msg("{title}, tokens/s by {unit}", title=title, unit=unit))
            for text in _bars(points, chosen[setting]):
                output.line(text)
    output.line("")
    prompts = msg("{n_threads_batch} to read prompts", n_threads_batch=tuning.n_threads_batch)
    if tuning.n_ubatch:
        prompts += f", {tuning.n_ubatch} tokens at a time"
    found = msg(
        "{n_threads} threads to generate, {prompts}", n_threads=tuning.n_threads, prompts=prompts
    )
    if result.not_kept is None:
        output.line(msg("kept: {found}", found=found))
    else:
        output.line(msg("found: {found}", found=found))
        output.warn(msg("not kept: {not_kept}", not_kept=result.not_kept))
    output.narrate(msg("measured in {seconds:.0f} s", seconds=result.seconds))


def _bars(points: Iterable[TuningPoint], chosen: int | None) -> Iterable[str]:
    points = list(points)
    most = max(point.speed for point in points)
    for point in points:
        bar = "█" * round(_BAR * point.speed / most) if most > 0 else ""
        mark = " ◀" if point.value == chosen else ""
        yield f"{point.value:>6}  {point.speed:>9.2f}  {bar}{mark}"
