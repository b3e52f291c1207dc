"""A plan's reasons, in words and numbers."""

from __future__ import annotations

from localq.display import byte_size
from localq.hardware.profile import HardwareProfile
from localq.messages import listed, msg
from localq.planning.budgets import HostAndDevices
from localq.planning.estimate import Placement
from localq.planning.kv_cache import CacheSettings
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import PlanOptions, Tuned

__all__ = ["reasons"]


def reasons(
    profile: HardwareProfile,
    machine: HostAndDevices,
    shape: ModelShape,
    plan_options: PlanOptions,
    tuned: Tuned | None,
    settings: CacheSettings,
    placement: Placement,
    contexts: tuple[int, int],
    *,
    fits: bool = True,
) -> tuple[str, ...]:
    """One sentence for each decision. `contexts` are the least one and the one preferred; `fits`
    is False where there is not enough memory for any of this."""
    said = [
        _threads(profile, plan_options, tuned),
        _context(shape, plan_options, settings, placement, contexts, fits=fits),
        _layers(machine, shape, plan_options, tuned, placement),
    ]
    if placement.n_cpu_moe:
        said.append(
            msg(
                "experts: those of {n_cpu_moe} of {n_layer} layers stay in host memory, as"
                " each token needs only a few of them",
                n_cpu_moe=placement.n_cpu_moe,
                n_layer=shape.n_layer,
            )
        )
    if len([count for count in placement.layers if count]) > 1:
        parts = ", ".join(
            f"{count} on {device.name}"
            for count, device in zip(placement.layers, machine.devices, strict=True)
        )
        said.append(msg("split: {parts}", parts=parts))
    said.append(_memory(machine))
    if plan_options.type_k is None:
        said.append(msg("keys and values: f16, which loses nothing; --kv q8_0 takes half of it"))
    if shape.window:
        said.append(
            msg(
                "keys and values: layers with a sliding window keep {window:,} tokens and a"
                " batch, not the whole context",
                window=shape.window,
            )
        )
    if shape.approximate:
        said.append(
            msg(
                "{architecture} keeps more than is estimated here: be generous",
                architecture=shape.architecture,
            )
        )
    return tuple(said)


def _threads(profile: HardwareProfile, plan_options: PlanOptions, tuned: Tuned | None) -> str:
    cpu = profile.cpu
    if plan_options.n_threads:
        return msg("threads: {n_threads}, as asked for", n_threads=plan_options.n_threads)
    if tuned:
        return msg(
            "threads: {n_threads}, measured to be fastest with this model",
            n_threads=tuned.n_threads,
        )
    limits = [msg("{threads} to generate", threads=cpu.threads)]
    if cpu.performance_cores:
        limits.append(
            msg("{performance_cores} performance cores", performance_cores=cpu.performance_cores)
        )
    if cpu.allowed_cpus:
        limits.append(msg("{allowed_cpus} processors allowed", allowed_cpus=cpu.allowed_cpus))
    if cpu.quota_cpus is not None:
        limits.append(msg("a quota of {quota_cpus:g}", quota_cpus=cpu.quota_cpus))
    return msg("threads: {limits}", limits=listed(limits))


def _context(
    shape: ModelShape,
    plan_options: PlanOptions,
    settings: CacheSettings,
    placement: Placement,
    contexts: tuple[int, int],
    *,
    fits: bool,
) -> str:
    if plan_options.n_ctx:
        beyond = ""
        if 0 < shape.n_ctx_train < plan_options.n_ctx:
            beyond = msg(
                ", but the model was trained with {n_ctx_train:,}: it may lose track",
                n_ctx_train=shape.n_ctx_train,
            )
        return msg(
            "context: {n_ctx:,} tokens, as asked for{beyond}",
            n_ctx=plan_options.n_ctx,
            beyond=beyond,
        )
    trained = (
        msg("trained with {n_ctx_train:,}", n_ctx_train=shape.n_ctx_train)
        if shape.n_ctx_train
        else msg("trained length unknown")
    )
    wanted = contexts[1]
    if settings.n_ctx == wanted:
        capped = "" if wanted == shape.n_ctx_train else msg("; --ctx N takes more, and more memory")
        return msg(
            "context: {n_ctx:,} tokens ({trained}{capped})",
            n_ctx=settings.n_ctx,
            trained=trained,
            capped=capped,
        )
    if not fits:
        return msg(
            "context: {n_ctx:,} tokens ({trained}); no shorter one is tried unasked",
            n_ctx=settings.n_ctx,
            trained=trained,
        )
    for_what = msg("for all layers to fit on devices") if placement.n_gpu_layers else msg("to fit")
    if 0 < placement.n_gpu_layers <= shape.n_layer:
        for_what = msg("so that more layers fit on devices")
    return msg(
        "context: {n_ctx:,} tokens instead of {wanted:,} {for_what} ({trained}); it"
        " is not made shorter than {contexts:,} unasked",
        n_ctx=settings.n_ctx,
        wanted=wanted,
        for_what=for_what,
        trained=trained,
        contexts=contexts[0],
    )


def _layers(
    machine: HostAndDevices,
    shape: ModelShape,
    plan_options: PlanOptions,
    tuned: Tuned | None,
    placement: Placement,
) -> str:
    total = shape.n_layer + 1
    if not machine.devices:
        asked = msg(", whatever was asked for") if plan_options.n_gpu_layers else ""
        return msg("layers: none on devices{asked}: the engine sees no GPU", asked=asked)
    count = placement.n_gpu_layers
    if plan_options.n_gpu_layers is not None:
        return msg("layers: {count} of {total} on devices, as asked for", count=count, total=total)
    if tuned and count < total and count == tuned.n_gpu_layers:
        return msg(
            "layers: {count} of {total} on devices, measured to be fastest with this model",
            count=count,
            total=total,
        )
    if count == total:
        return msg("layers: all {total} on devices, the output counting as one", total=total)
    if count == 0:
        return msg("layers: none on devices: there is too little free memory for any")
    return msg(
        "layers: the last {count} of {total} on devices, as many as fit", count=count, total=total
    )


def _memory(machine: HostAndDevices) -> str:
    parts = []
    for budget in (machine.host, *machine.devices):
        if budget.usable is None or budget.free is None:
            parts.append(msg("how much memory the machine has free is unknown"))
        else:
            parts.append(
                msg(
                    "{name} has {free} free, of which {margin} is left alone",
                    name=budget.name,
                    free=byte_size(budget.free),
                    margin=byte_size(min(budget.margin, budget.free)),
                )
            )
    return msg("memory: {parts}", parts="; ".join(parts))
