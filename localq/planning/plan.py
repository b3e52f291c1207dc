"""How to load a model on a machine: context, layers, threads.

`make_plan` is a function of its arguments alone. It never plans with memory that is not there:
what is free, less a margin, bounds every device. Where the user asked for no context, a shorter
one is tried before layers stay off the devices; more memory never makes either smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from localq.formats.types import TensorType
from localq.hardware.profile import HardwareProfile
from localq.messages import msg
from localq.planning.budgets import HostAndDevices, host_and_devices
from localq.planning.estimate import MemoryEstimate, Placement
from localq.planning.kv_cache import CacheSettings, type_fits
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import OffloadPlan, PlanOptions, Tuned
from localq.planning.placing import Placer
from localq.planning.plan_advice import overfull_problem, suggestions
from localq.planning.plan_reasons import reasons

__all__ = [
    "DEFAULT_CONTEXT",
    "LEAST_CONTEXT",
    "Solution",
    "context_range",
    "impossible",
    "make_plan",
    "n_draft",
    "solve",
]

DEFAULT_CONTEXT = 8192
"""Tokens, where neither the user nor the model says less. Few conversations outgrow it, while the
memory and the time that a longer context takes are paid at once."""
LEAST_CONTEXT = 4096
_STEP = 256
_BATCH = 512
_UNKNOWN_TRAINED = 4096
_DRAFT = 15
"""Batches of 16 tokens: larger ones take about as long for each token, and there are seldom so many
right guesses in a row."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A context, and where the layers go; `overfull` names the devices that cannot hold it."""

    settings: CacheSettings
    placement: Placement
    estimate: MemoryEstimate
    overfull: tuple[tuple[str, int, int], ...]

    @property
    def lacking(self) -> int:
        """Bytes that the devices cannot hold; 0: it fits."""
        return sum(needed - usable for _, needed, usable in self.overfull)


def make_plan(
    profile: HardwareProfile,
    shape: ModelShape,
    plan_options: PlanOptions | None = None,
    *,
    tuned: Tuned | None = None,
    beside_bytes: int = 0,
    draft: ModelShape | None = None,
) -> OffloadPlan:
    """The plan for a model on a machine, with `beside_bytes` of adapters and the like, and a
    `draft` that guesses for it. It is one even where the model cannot run: `problem` then says
    why, and `suggestions` what could."""
    plan_options = plan_options or PlanOptions()
    machine = host_and_devices(profile, beside=beside_bytes)
    solution = solve(machine, shape, plan_options, tuned, draft)
    solution = _as_measured(machine, shape, plan_options, tuned, solution, draft)
    refused = impossible(shape, plan_options)
    problem = refused or overfull_problem(solution.overfull, solution.settings)
    advice: tuple[str, ...] = ()
    if refused:
        advice = ("keys and values as they are usually kept: leave out --kv",)
    elif problem:
        advice = suggestions(
            machine,
            shape,
            plan_options,
            lambda other, option: solve(machine, other, option, tuned, draft),
        )
    settings, placement = solution.settings, solution.placement
    n_gpu_layers, split = _llama_layers(shape, placement)
    cpu = profile.cpu
    return OffloadPlan(
        n_threads=plan_options.n_threads or (tuned.n_threads if tuned else cpu.threads),
        n_threads_batch=plan_options.n_threads_batch
        or plan_options.n_threads
        or (tuned.n_threads_batch if tuned else cpu.threads_batch),
        n_gpu_layers=n_gpu_layers,
        tensor_split=split,
        n_cpu_moe=placement.n_cpu_moe,
        n_ctx=settings.n_ctx,
        type_k=settings.type_k.name.lower(),
        type_v=settings.type_v.name.lower(),
        n_batch=_batches(plan_options, tuned)[0],
        n_ubatch=settings.n_ubatch,
        use_mmap=_use_mmap(plan_options),
        use_mlock=bool(plan_options.use_mlock),
        flash_attn=plan_options.flash_attn or "auto",
        n_draft=n_draft(shape, plan_options),
        estimate=solution.estimate,
        budgets=(machine.host, *machine.devices),
        n_layers=shape.n_layer + 1,
        reasons=reasons(
            profile,
            machine,
            shape,
            plan_options,
            tuned,
            settings,
            placement,
            context_range(shape, plan_options),
            fits=not solution.overfull,
        ),
        problem=problem,
        suggestions=advice,
        adapters=plan_options.adapters or (),
        beside_bytes=beside_bytes,
    )


def _as_measured(
    machine: HostAndDevices,
    shape: ModelShape,
    plan_options: PlanOptions,
    tuned: Tuned | None,
    solution: Solution,
    draft: ModelShape | None,
) -> Solution:
    """The solution with fewer layers on devices, where that was measured to be faster and fits."""
    layers = tuned.n_gpu_layers if tuned else None
    asked = plan_options.n_gpu_layers is not None or plan_options.n_cpu_moe is not None
    if asked or layers is None or layers >= solution.placement.n_gpu_layers:
        return solution
    fewer = replace(plan_options, n_gpu_layers=layers, n_ctx=solution.settings.n_ctx)
    measured = solve(machine, shape, fewer, tuned, draft)
    return solution if measured.overfull else measured


def context_range(shape: ModelShape, plan_options: PlanOptions) -> tuple[int, int]:
    """The least context to try, and the one to prefer."""
    if plan_options.n_ctx:
        return plan_options.n_ctx, plan_options.n_ctx
    trained = shape.n_ctx_train or _UNKNOWN_TRAINED
    return min(trained, LEAST_CONTEXT), min(trained, DEFAULT_CONTEXT)


def solve(
    machine: HostAndDevices,
    shape: ModelShape,
    plan_options: PlanOptions,
    tuned: Tuned | None = None,
    draft: ModelShape | None = None,
) -> Solution:
    """The longest context, and for it the most layers on devices, that fit; what fits without
    devices fits with them."""
    least, wanted = context_range(shape, plan_options)
    inner = range(-(-least // _STEP) * _STEP, wanted, _STEP)
    contexts = sorted({least, wanted, *inner})

    def at(n_ctx: int) -> Placer:
        settings = _settings(shape, plan_options, tuned, n_ctx)
        return Placer(
            shape, settings, machine, _use_mmap(plan_options), n_draft(shape, plan_options), draft
        )

    layers, moe = plan_options.n_gpu_layers, min(plan_options.n_cpu_moe or 0, shape.n_layer)
    if layers is None and plan_options.n_cpu_moe is not None:
        layers = -1
    if layers is not None or not machine.devices:
        count = shape.n_layer + 1 if layers is None or layers < 0 else layers
        found = _longest(contexts, at, lambda placer: placer.exactly(count, moe))
        return found or _solution(at(least), at(least).exactly(count, moe))
    if found := _longest(contexts, at, Placer.whole):
        return found
    return _as_much_as_fits(at(least))


def _as_much_as_fits(placer: Placer) -> Solution:
    """As much on devices as can be where not all can; where nothing fits, what lacks least.

    Layers on a device can cost more than they bring: one that uses the host's own memory brings
    no room, and yet takes some to compute in.
    """
    tried = []
    for place in (placer.with_experts_on_host, placer.partly, Placement):
        if (placement := place()) is None:
            continue
        solution = _solution(placer, placement)
        if not solution.overfull:
            return solution
        tried.append(solution)
    return min(tried, key=lambda solution: solution.lacking)


def _longest(
    contexts: Sequence[int],
    at: Callable[[int], Placer],
    place: Callable[[Placer], Placement | None],
) -> Solution | None:
    """The solution for the longest context for which there is one that fits: what a context
    takes grows with it."""
    found = None
    low, high = 0, len(contexts)
    while low < high:
        # The longest of all is what fits most often.
        middle = high - 1 if high == len(contexts) else (low + high) // 2
        placer = at(contexts[middle])
        placement = place(placer)
        solution = _solution(placer, placement) if placement is not None else None
        if solution and not solution.overfull:
            found, low = solution, middle + 1
        else:
            high = middle
    return found


def _solution(placer: Placer, placement: Placement) -> Solution:
    estimate = placer.estimate(placement)
    return Solution(placer.settings, placement, estimate, tuple(placer.overfull(estimate)))


def _settings(
    shape: ModelShape, plan_options: PlanOptions, tuned: Tuned | None, n_ctx: int
) -> CacheSettings:
    n_batch, n_ubatch = _batches(plan_options, tuned)
    type_k = _kv_type(plan_options.type_k)
    type_v = _kv_type(plan_options.type_v)
    # llama.cpp takes flash attention where it can; with f32 localq does without, see LoadSettings.
    flash = plan_options.flash_attn != "off" and TensorType.F32 not in (type_k, type_v)
    return CacheSettings(
        n_ctx,
        min(n_batch, n_ubatch),
        n_seq=plan_options.n_seq_max or 1,
        type_k=type_k,
        type_v=type_v,
        flash_attn=flash,
    )


def _batches(plan_options: PlanOptions, tuned: Tuned | None) -> tuple[int, int]:
    n_batch = plan_options.n_batch or (tuned.n_batch if tuned else None) or _BATCH
    n_ubatch = plan_options.n_ubatch or (tuned.n_ubatch if tuned else None) or _BATCH
    return n_batch, min(n_batch, n_ubatch)


def _kv_type(name: str | None) -> TensorType:
    return TensorType.parse(name) if name else TensorType.F16


def n_draft(shape: ModelShape, plan_options: PlanOptions) -> int:
    """Tokens to guess in advance, at most. None where a wrong guess could not be taken back:
    recurrent layers and sliding windows."""
    cuttable = all(not kind.memory.state and not kind.memory.sliding for kind in shape.kinds)
    if not shape.causal or not cuttable:
        return 0
    return _DRAFT if plan_options.n_draft is None else plan_options.n_draft


def _use_mmap(plan_options: PlanOptions) -> bool:
    return plan_options.use_mmap is not False


def impossible(shape: ModelShape, plan_options: PlanOptions) -> str | None:
    """Why llama.cpp refuses these options however much memory there is; None: it does not."""
    if not shape.causal:
        return None
    for what, name in (("keys", plan_options.type_k), ("values", plan_options.type_v)):
        type_ = _kv_type(name)
        if not type_fits(shape, type_, keys=what == "keys", values=what == "values"):
            return msg(
                "{what} cannot be kept as {name}: that needs heads of a multiple of"
                " {block_elements} numbers, and this model has others",
                what=what,
                name=name,
                block_elements=type_.block_elements,
            )
    without = plan_options.flash_attn == "off" or not shape.flash_attn
    if without and _kv_type(plan_options.type_v).is_quantized:
        model = (
            ""
            if shape.flash_attn
            else msg(
                ", which {architecture} cannot be computed with", architecture=shape.architecture
            )
        )
        return msg(
            "values can be kept as {type_v} with flash attention only{model}",
            type_v=plan_options.type_v,
            model=model,
        )
    latent = any(kind.memory.latent for kind in shape.kinds)
    if latent and _kv_type(plan_options.type_k) is not _kv_type(plan_options.type_v):
        return msg("keys and values of this model are one, and cannot be kept as two types")
    return None


def _llama_layers(shape: ModelShape, placement: Placement) -> tuple[int, tuple[float, ...] | None]:
    """`n_gpu_layers` and `tensor_split` as llama.cpp counts: layers it does not load count, too."""
    counts = list(placement.layers)
    total = sum(counts)
    if total > 1 and shape.unused_layers:
        last = max(number for number, count in enumerate(counts) if count)
        counts[last] += shape.unused_layers
        total += shape.unused_layers
    split = tuple(float(count) for count in counts) if len(counts) > 1 and total else None
    return total, split
