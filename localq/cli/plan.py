"""`localq plan [MODEL]`"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.plan_options import plan_options, plan_options_from
from localq.display import byte_size
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.formats.adapter import Adapter
    from localq.planning.offload_plan import OffloadPlan
    from localq.services.machine.plan import PlannedModel

__all__ = ["command"]


@click.command()
@optional_model
@plan_options
@click.option("--explain", is_flag=True, help="Say why, in words and numbers.")
@click.option("--llama-cpp", "as_flags", is_flag=True, help="Print llama.cpp's arguments alone.")
@click.option("--langchain", "as_langchain", is_flag=True, help="Print a LangChain call alone.")
@click.option("--save", is_flag=True, help="Keep the options given for this model.")
@click.option("--forget", is_flag=True, help="Forget what was kept for this model.")
@json_option
def command(
    model: str | None,
    explain: bool,
    as_flags: bool,
    as_langchain: bool,
    save: bool,
    forget: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Show context, layers, threads and memory that MODEL would be loaded with: by run, by the
    terminal app, and by localq.plan() in Python.

    MODEL is a name or a .gguf file; without it, the model pulled, made or used last. What is
    saved holds until it is forgotten; options given to run go before it.
    """
    from localq.services.library.locate import locate_gguf
    from localq.services.machine.plan import forget_plan_options, plan_model, save_plan_options

    if as_flags + as_langchain + as_json > 1:
        raise UsageError(msg("choose one of --llama-cpp, --langchain and --json"))
    if save and forget:
        raise UsageError(msg("choose one of --save and --forget"))
    wanted = plan_options_from(**options)
    if save and not any(getattr(wanted, name) is not None for name in wanted.__slots__):
        raise UsageError(
            msg("nothing to keep: no option was given"), hint=msg("--save with --ctx 8192, say")
        )
    with Library() as library, cancel_on_interrupt() as cancel:
        if save or forget:
            found = locate_gguf(library, model)
            if save:
                save_plan_options(library, found, wanted)
                output.narrate(msg("kept for {name}", name=found.name))
            elif forget_plan_options(library, found):
                output.narrate(msg("forgot what was kept for {name}", name=found.name))
            else:
                output.narrate(msg("nothing was kept for {name}", name=found.name))
        planned = plan_model(library, model, wanted, cancel=cancel)
    if as_json:
        document = output.to_json(planned.plan)
        output.json_document({"model": planned.model.name, "path": planned.model.path, **document})
    elif as_flags:
        output.line(_shell(planned))
    elif as_langchain:
        _langchain(planned)
    else:
        _show(planned, explain)
    if planned.plan.problem and not as_json:
        _cannot_run(planned.plan)


def _show(planned: PlannedModel, explain: bool) -> None:
    plan = planned.plan
    output.line(planned.model.name)
    output.line("")
    for label, value in _choices(plan):
        output.field(label, value)
    if planned.projector:
        output.field("pictures", planned.projector.name)
    if plan.beside_bytes:
        output.field("beside it", byte_size(plan.beside_bytes))
    output.line("")
    rows = []
    for memory, budget in zip(plan.estimate.devices, plan.budgets, strict=False):
        parts = (memory.weights, memory.kv_cache, memory.compute, memory.overhead, memory.total)
        free = "unknown" if budget.usable is None else byte_size(budget.usable)
        rows.append((memory.name, *(byte_size(part) if part else "-" for part in parts), free))
    output.table(
        (
            msg("MEMORY"),
            msg("WEIGHTS"),
            msg("KV CACHE"),
            msg("COMPUTE"),
            msg("ENGINE"),
            msg("TOTAL"),
            msg("USABLE"),
        ),
        rows,
    )
    if explain:
        output.line("")
        for reason in plan.reasons:
            output.line(reason)
        saved = [
            f"{name} {_adapters(value) if name == 'adapters' else value}"
            for name in planned.saved.__slots__
            if (value := getattr(planned.saved, name)) is not None
        ]
        if saved:
            output.line(msg("kept for this model: {saved}", saved=", ".join(saved)))


def _choices(plan: OffloadPlan) -> list[tuple[str, str]]:
    kv = plan.type_k if plan.type_k == plan.type_v else f"{plan.type_k}, {plan.type_v}"
    layers = msg(
        "{n_gpu_layers} of {n_layers} on devices",
        n_gpu_layers=min(plan.n_gpu_layers, plan.n_layers),
        n_layers=plan.n_layers,
    )
    if plan.n_cpu_moe:
        layers += f", experts of {plan.n_cpu_moe} in host memory"
    threads = msg(
        "{n_threads} to generate, {n_threads_batch} to read prompts",
        n_threads=plan.n_threads,
        n_threads_batch=plan.n_threads_batch,
    )
    files = "mapped" if plan.use_mmap else "read"
    adapters = [("adapters", _adapters(plan.adapters))] if plan.adapters else []
    draft = [("draft", plan.draft.name)] if plan.draft else []
    return [
        ("context", f"{plan.n_ctx:,} tokens"),
        ("layers", layers),
        ("threads", threads),
        ("keys, values", kv),
        ("batch", f"{plan.n_batch} tokens, {plan.n_ubatch} at a time"),
        ("file", files + (", locked in memory" if plan.use_mlock else "")),
        *adapters,
        *draft,
    ]


def _adapters(adapters: Sequence[Adapter]) -> str:
    return ", ".join(f"{one.path.name} at {one.scale:g}" for one in adapters)


def _shell(planned: PlannedModel) -> str:
    from localq.services.machine.plan_arguments import llama_cpp_flags

    return shlex.join(llama_cpp_flags(planned.model.path, planned.plan, planned.projector))


def _langchain(planned: PlannedModel) -> None:
    from localq.services.machine.plan_arguments import langchain_arguments

    output.line(msg("LlamaCpp("))
    for name, value in langchain_arguments(planned.model.path, planned.plan).items():
        output.line(msg("    {name}={value!r},", name=name, value=value))
    output.line(")")


def _cannot_run(plan: OffloadPlan) -> None:
    output.warn(msg("it cannot run so: {problem}", problem=plan.problem))
    for suggestion in plan.suggestions:
        output.narrate(msg("  try: {suggestion}", suggestion=suggestion))
