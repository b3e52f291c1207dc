"""Options that change a plan, for every verb that loads a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from localq.errors import UsageError
from localq.messages import msg

if TYPE_CHECKING:
    from localq.formats.adapter import Adapter
    from localq.planning.offload_plan import PlanOptions

__all__ = ["plan_options", "plan_options_from"]

_MOST = 1 << 24
_OPTIONS = (
    click.option(
        "--ctx", "n_ctx", type=click.IntRange(16, _MOST), help="Context length in tokens."
    ),
    click.option("--threads", "n_threads", type=click.IntRange(1, 512), help="To generate with."),
    click.option(
        "--threads-batch",
        "n_threads_batch",
        type=click.IntRange(1, 512),
        help="To read prompts with.",
    ),
    click.option(
        "--gpu-layers",
        "n_gpu_layers",
        type=click.IntRange(-1, 1 << 16),
        help="Layers on devices, from the last; -1: all, 0: none.",
    ),
    click.option(
        "--kv", "kv", metavar="TYPE[,TYPE]", help="How keys and values are kept: f16, q8_0, ..."
    ),
    click.option(
        "--batch", "n_batch", type=click.IntRange(1, 1 << 20), help="Prompt tokens read at a time."
    ),
    click.option(
        "--lora",
        "lora",
        multiple=True,
        metavar="ADAPTER[:SCALE]",
        help="Add a GGUF adapter, by file or by name, at SCALE (1); several are added up.",
    ),
    click.option(
        "--draft",
        metavar="MODEL",
        help="A small model of the same vocabulary that guesses what MODEL says next.",
    ),
    click.option(
        "--draft-max",
        "n_draft",
        type=click.IntRange(0, 64),
        metavar="N",
        help="Tokens guessed in advance, where that pays; 0: none.",
    ),
    click.option("--no-mmap", is_flag=True, help="Read the file instead of mapping it."),
    click.option("--mlock", is_flag=True, help="Keep the model from being swapped out."),
)

Function = Callable[..., Any]


def plan_options(function: Function) -> Function:
    """The options, in this order; they come in as keyword arguments for `plan_options_from`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def plan_options_from(
    *,
    n_ctx: int | None,
    n_threads: int | None,
    n_threads_batch: int | None,
    n_gpu_layers: int | None,
    kv: str | None,
    n_batch: int | None,
    draft: str | None,
    n_draft: int | None,
    lora: Sequence[str],
    no_mmap: bool,
    mlock: bool,
) -> PlanOptions:
    """What the options ask for; UsageError where a type is none."""
    from localq.planning.offload_plan import PlanOptions
    from localq.services.machine.plan import check_plan_options

    type_k, type_v = _types(kv)
    plan_options = PlanOptions(
        n_ctx=n_ctx,
        n_gpu_layers=n_gpu_layers,
        n_threads=n_threads,
        n_threads_batch=n_threads_batch,
        type_k=type_k,
        type_v=type_v,
        n_batch=n_batch,
        n_draft=n_draft,
        draft=draft,
        adapters=(_adapters(lora) or None) if lora else None,
        use_mmap=False if no_mmap else None,
        use_mlock=True if mlock else None,
    )
    check_plan_options(plan_options)
    return plan_options


def _adapters(texts: Sequence[str]) -> tuple[Adapter, ...]:
    from localq.services.library.adapters import locate_adapter

    return tuple(map(locate_adapter, texts))


def _types(kv: str | None) -> tuple[str | None, str | None]:
    """Of keys and of values, one for both or one for each."""
    if kv is None:
        return None, None
    from localq.engine.settings import KV_TYPES

    names = [name.strip() for name in kv.lower().split(",")]
    if len(names) > 2 or not all(name in KV_TYPES for name in names):
        raise UsageError(
            msg("keys and values cannot be kept as {kv!r}", kv=kv),
            hint=msg(
                "one type for both, or two with a comma between, of: {kv_types}",
                kv_types=", ".join(KV_TYPES),
            ),
        )
    return names[0], names[-1]
