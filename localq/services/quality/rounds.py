"""Which models are in memory at the same time while they are evaluated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from localq.planning.budgets import HostAndDevices
from localq.planning.estimate import MemoryEstimate

__all__ = ["fits", "rounds"]

_LOGITS = 128 << 20
"""Of each model: the logits of a piece of the text, and work on them."""


def rounds(
    base: MemoryEstimate | None, others: Sequence[MemoryEstimate], machine: HostAndDevices
) -> list[range]:
    """Those of `others`, by their place, that are evaluated together, each time beside `base`:
    as many as the machine holds, at least one. Without a base each goes alone."""
    made: list[range] = []
    start = 0
    while start < len(others):
        stop = start + 1
        if base is not None:
            while stop < len(others) and fits([base, *others[start : stop + 1]], machine):
                stop += 1
        made.append(range(start, stop))
        start = stop
    return made


def fits(estimates: Iterable[MemoryEstimate], machine: HostAndDevices) -> bool:
    """Whether the machine holds models that take so much, all together."""
    taken: Counter[str] = Counter()
    for estimate in estimates:
        taken["host"] += _LOGITS
        for memory in estimate.devices:
            taken[memory.name] += memory.total
    for device, unified in zip(machine.devices, machine.unified, strict=True):
        if unified:  # it has no memory of its own
            taken["host"] += taken[device.name]
    return all(
        budget.usable is None or taken[budget.name] <= budget.usable
        for budget in (machine.host, *machine.devices)
    )
