"""Where a model would run on a machine, with how much context, and what room that leaves."""

from __future__ import annotations

from dataclasses import dataclass

from localq.planning.budgets import HostAndDevices
from localq.planning.comfort import is_tight
from localq.planning.fit_choice import Where
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import PlanOptions
from localq.planning.plan import Solution, solve

__all__ = ["FitPlace", "place"]


@dataclass(frozen=True, slots=True)
class FitPlace:
    """What a plan comes to. `memory_bytes` is all that is needed, on all devices; `room_bytes`
    what is left where the model runs (of GPU and CPU: in memory); below 0: what is lacking, None:
    nobody knows. `layers` count the output as one more; the experts of the first `cpu_moe` of
    them stay in memory."""

    where: Where
    gpu_layers: int
    cpu_moe: int
    layers: int
    n_ctx: int
    memory_bytes: int
    room_bytes: int | None
    shared: bool
    """Whether the GPU it runs on has no memory of its own."""
    tight: bool
    """Whether its weights take more than three quarters of the memory that may be used."""


def place(shape: ModelShape, machine: HostAndDevices, plan_options: PlanOptions) -> FitPlace:
    """As `make_plan` would load the model."""
    solution = solve(machine, shape, plan_options)
    placement = solution.placement
    where = _where(shape, solution)
    return FitPlace(
        where,
        placement.n_gpu_layers,
        placement.n_cpu_moe,
        shape.n_layer + 1,
        solution.settings.n_ctx,
        solution.estimate.total,
        _room(machine, solution, where),
        shared=any(
            own and layers for own, layers in zip(machine.unified, placement.layers, strict=False)
        ),
        tight=_tight(shape, machine, solution),
    )


def _tight(shape: ModelShape, machine: HostAndDevices, solution: Solution) -> bool:
    if machine.host.usable is None:
        return False
    weights = solution.estimate.host.weights
    if any(machine.unified):  # all of it is the machine's, however it is split
        weights = shape.weights
    return is_tight(weights, machine.host.usable)


def _where(shape: ModelShape, solution: Solution) -> Where:
    placement = solution.placement
    if solution.overfull:
        return Where.NOWHERE
    if placement.n_gpu_layers == 0:
        return Where.CPU
    whole = placement.n_gpu_layers > shape.n_layer and placement.n_cpu_moe == 0
    return Where.GPU if whole else Where.SPLIT


def _room(machine: HostAndDevices, solution: Solution, where: Where) -> int | None:
    if where is Where.NOWHERE:
        return -solution.lacking
    host, *devices = solution.estimate.devices
    if where is Where.GPU:
        usable = sum(budget.usable or 0 for budget in machine.devices)
        return usable - sum(device.total for device in devices)
    if machine.host.usable is None:
        return None
    shared = (d.total for d, own in zip(devices, machine.unified, strict=False) if own)
    return machine.host.usable - host.total - sum(shared)
