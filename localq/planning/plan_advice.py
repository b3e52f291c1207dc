"""Why a plan cannot be carried out, and what smaller thing could."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from localq.display import byte_size
from localq.formats.types import TensorType
from localq.messages import msg
from localq.planning.budgets import HostAndDevices
from localq.planning.fit_shape import scaled_shape
from localq.planning.kv_cache import CacheSettings, type_fits
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import PlanOptions

__all__ = ["Solved", "overfull_problem", "suggestions"]

_SMALLER = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072, 262_144, 524_288, 1 << 20)
"""Contexts worth naming."""
_QUANTS = (("q8_0", 850), ("q6_k", 656), ("q5_k_m", 569), ("q4_k_m", 485), ("q4_0", 455),
           ("q3_k_m", 391), ("q2_k", 296))  # fmt: skip
"""Hundredths of a bit for each weight of a usual model; llama.cpp's quantize README."""


class Solved(Protocol):
    """What became of a try."""

    @property
    def overfull(self) -> Sequence[tuple[str, int, int]]: ...
    @property
    def settings(self) -> CacheSettings: ...


Solve = Callable[[ModelShape, PlanOptions], Solved]


def overfull_problem(
    overfull: Sequence[tuple[str, int, int]], settings: CacheSettings
) -> str | None:
    """The problem in one sentence; None where nothing is overfull."""
    if not overfull:
        return None
    parts = [
        f"{byte_size(needed)} of {'memory' if name == 'host' else f'memory on {name}'},"
        f" where {byte_size(usable)} can be used"
        for name, needed, usable in overfull
    ]
    return msg(
        "with a context of {n_ctx:,} tokens it takes {parts}",
        n_ctx=settings.n_ctx,
        parts="; and ".join(parts),
    )


def suggestions(
    machine: HostAndDevices, shape: ModelShape, plan_options: PlanOptions, solve: Solve
) -> tuple[str, ...]:
    """Options that would make it run, each by itself where one is enough."""
    if not shape.causal:
        return ()
    found = []
    if _fills_everything(machine, shape):  # whatever else is kept: only weights can be saved
        quant = _quant(shape, plan_options, solve)
        return (f"a smaller quantization, such as {quant}" if quant else "a smaller model",)
    if plan_options.n_gpu_layers is not None and machine.devices:
        free = replace(plan_options, n_gpu_layers=None, n_cpu_moe=None)
        if _runs(solve, shape, free):
            found.append(msg("fewer layers on devices: leave out --gpu-layers"))
    shorter = _context(shape, plan_options, solve) or 0
    if shorter:
        found.append(msg("a shorter context: --ctx {shorter}", shorter=shorter))
    small = replace(plan_options, type_k="q8_0", type_v="q8_0")
    usual = (
        (plan_options.type_k or "f16") == "f16"
        and plan_options.flash_attn != "off"
        and shape.flash_attn
    )
    if usual and type_fits(shape, TensorType.Q8_0):
        if _runs(solve, shape, small):
            found.append(msg("keys and values in half the memory: --kv q8_0"))
        elif (context := _context(shape, small, solve) or 0) > shorter:
            found.append(
                msg(
                    "keys and values in half the memory: --kv q8_0 --ctx {context}", context=context
                )
            )
    if quant := _quant(shape, plan_options, solve):
        found.append(msg("a smaller quantization, such as {quant}", quant=quant))
    return tuple(found) or ("a smaller model",)


def _fills_everything(machine: HostAndDevices, shape: ModelShape) -> bool:
    """Whether the weights alone are more than all memory there is."""
    usable = [budget.usable for budget in (machine.host, *machine.devices)]
    return None not in usable and shape.weights > sum(size or 0 for size in usable)


def _runs(solve: Solve, shape: ModelShape, plan_options: PlanOptions) -> bool:
    return not solve(shape, plan_options).overfull


def _context(shape: ModelShape, plan_options: PlanOptions, solve: Solve) -> int | None:
    """The longest context worth naming that runs, shorter than what was tried."""
    tried = plan_options.n_ctx or min(shape.n_ctx_train or _SMALLER[-1], 4096)
    below = [size for size in _SMALLER if size < min(tried, (shape.n_ctx_train or tried) + 1)]
    low, high = 0, len(below)
    while low < high:
        middle = (low + high) // 2
        if _runs(solve, shape, replace(plan_options, n_ctx=below[middle])):
            low = middle + 1
        else:
            high = middle
    return below[low - 1] if low else None


def _quant(shape: ModelShape, plan_options: PlanOptions, solve: Solve) -> str | None:
    bits = 800 * shape.weights // max(1, shape.parameters)
    smaller = [(name, size) for name, size in _QUANTS if size < bits]
    low, high = 0, len(smaller)
    while low < high:  # the largest that runs
        middle = (low + high) // 2
        _, size = smaller[middle]
        if _runs(solve, scaled_shape(shape, size, max(1, bits)), plan_options):
            high = middle
        else:
            low = middle + 1
    return smaller[low][0] if low < len(smaller) else None
