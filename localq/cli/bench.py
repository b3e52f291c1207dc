"""`localq bench [MODEL]`"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.planning.measurements import Benchmark

__all__ = ["command"]


@click.command()
@optional_model
@click.option("-p", "--n-prompt", type=int, default=512, show_default=True, help="Prompt tokens.")
@click.option(
    "-n", "--n-generate", type=int, default=128, show_default=True, help="Tokens to generate."
)
@click.option("-r", "--repetitions", type=int, default=5, show_default=True, help="How often.")
@plan_options
@click.option("--ubatch", "n_ubatch", type=int, help="Prompt tokens computed at a time.")
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@click.option("--history", is_flag=True, help="Measure nothing; show what was measured before.")
@json_option
def command(
    model: str | None,
    n_prompt: int,
    n_generate: int,
    repetitions: int,
    n_ubatch: int | None,
    force: bool,
    history: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how fast MODEL reads prompts (pp) and generates (tg), in tokens per second, as
    llama-bench does; the results are kept.

    MODEL is a name or a .gguf file; without it, the model pulled, made or used last.
    """
    from localq.services.measure.bench import BenchRequest, bench, bench_history

    wanted = replace(plan_options_from(**options), n_ubatch=n_ubatch)
    request = BenchRequest(model, n_prompt, n_generate, repetitions, wanted, force)
    if history:
        with Library() as library:
            _history(bench_history(library, model), as_json)
        return
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        run = bench(library, request, emit, cancel)
        before = bench_history(library, model)[1:]
    if as_json:
        output.json_document(run)
        return
    _show(run)
    if earlier := [other for other in before if _comparable(run, other)]:
        output.line("")
        output.line(
            msg("{when}: {changes}", when=_when(earlier[0]), changes=_changes(run, earlier[0]))
        )


def _show(run: Benchmark) -> None:
    setting = run.setting
    threads = msg("generating with {n_threads}", n_threads=setting.n_threads)
    if setting.n_threads_batch != setting.n_threads:
        threads += f", reading with {setting.n_threads_batch}"
    if setting.n_gpu_layers:
        threads += f", {setting.n_gpu_layers} layers on devices"
    output.line(msg("{model} ({quant})", model=run.model, quant=run.subject.quant))
    output.line(
        msg(
            "{machine_name}; llama-cpp-python {engine}; {threads}",
            machine_name=run.machine_name,
            engine=run.subject.engine,
            threads=threads,
        )
    )
    output.line("")
    for test in run.tests:
        output.line(
            msg(
                "{name:<12} {mean:10.2f} ± {stddev:.2f} tokens/s",
                name=test.name,
                mean=test.mean,
                stddev=test.stddev,
            )
        )
    output.field(msg("first token"), f"{run.first_token_seconds:10.2f} s", 12)
    output.field(msg("load"), f"{run.load_seconds:10.2f} s", 12)
    memory = byte_size(run.memory_bytes)
    if run.resident_bytes is not None:
        memory += f" asked for, {byte_size(run.resident_bytes)} resident"
    output.field(msg("memory"), f"{memory:>10}", 12)


def _history(runs: Sequence[Benchmark], as_json: bool) -> None:
    if as_json:
        output.json_document(runs)
    elif not runs:
        output.narrate(msg("nothing was measured yet; try: localq bench"))
    else:
        output.table(
            (
                msg("MEASURED"),
                msg("MODEL"),
                msg("TESTS"),
                msg("THREADS"),
                msg("ENGINE"),
                msg("MACHINE"),
            ),
            (
                (
                    _when(run),
                    run.model,
                    ", ".join(f"{t.name} {t.mean:.2f} ± {t.stddev:.2f}" for t in run.tests),
                    str(run.setting.n_threads),
                    run.subject.engine,
                    run.machine_name,
                )
                for run in runs
            ),
        )


def _comparable(run: Benchmark, other: Benchmark) -> bool:
    return run.subject.machine == other.subject.machine and bool(
        {test.name for test in run.tests} & {test.name for test in other.tests}
    )


def _changes(run: Benchmark, earlier: Benchmark) -> str:
    before = {test.name: test for test in earlier.tests}
    return ", ".join(
        f"{test.name} {before[test.name].mean:.2f} ± {before[test.name].stddev:.2f}"
        f" ({100 * (test.mean / before[test.name].mean - 1):+.1f} % now)"
        for test in run.tests
        if test.name in before and before[test.name].mean > 0
    )


def _when(run: Benchmark) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.measured_at))
