"""Which loaded models give way to another one. Sums and orders only: no process, no clock.

Memory counts, not the number of models: a small model never sends a large one away where a smaller
one would do, and none goes that need not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Footprint", "Room", "Tenant", "make_room"]

Footprint = Mapping[str, int]
"""Bytes by device, "host" for the machine's own memory."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A loaded model as far as others want its memory."""

    id: str
    footprint: Footprint
    idle_since: float | None
    """None: it is being used. Else any number that grows with time."""
    pinned: bool = False
    ours: bool = True
    """Whether it belongs to whoever wants room; those of others go last."""

    @property
    def gives_way(self) -> bool:
        return self.idle_since is not None and not self.pinned


@dataclass(frozen=True, slots=True)
class Room:
    """What has to happen before a model fits."""

    evict: tuple[str, ...] = ()
    """Who must go, in this order."""
    lacking: Mapping[str, int] = field(default_factory=dict)
    """Bytes by device that are not there even without all who give way; empty: it fits."""

    @property
    def fits(self) -> bool:
        return not self.lacking


def make_room(
    need: Footprint, capacity: Mapping[str, int | None], tenants: Sequence[Tenant]
) -> Room:
    """Who must go so that `need` fits.

    `capacity`: bytes by device for all models together, those loaded now included; a device that
    is not named, or None, is never too small. The least recently used go first, ours before
    those of others; whoever's going turns out not to help stays.
    """
    stays = [tenant for tenant in tenants if not tenant.gives_way]
    leaves = sorted(
        (tenant for tenant in tenants if tenant.gives_way),
        key=lambda tenant: (not tenant.ours, tenant.idle_since),
    )
    if lacking := _lacking(need, capacity, stays):
        return Room(lacking=lacking)
    count = 0
    while _lacking(need, capacity, [*stays, *leaves[count:]]):
        count += 1
    gone, kept = leaves[:count], [*stays, *leaves[count:]]
    for tenant in reversed(leaves[:count]):  # whoever was used last is spared first
        if not _lacking(need, capacity, [*kept, tenant]):
            kept.append(tenant)
            gone.remove(tenant)
    return Room(evict=tuple(tenant.id for tenant in gone))


def _lacking(
    need: Footprint, capacity: Mapping[str, int | None], tenants: Iterable[Tenant]
) -> dict[str, int]:
    held = [tenant.footprint for tenant in tenants]
    lacking = {}
    for device, wanted in need.items():
        limit = capacity.get(device)
        if wanted <= 0 or limit is None:
            continue
        if (over := wanted + sum(each.get(device, 0) for each in held) - limit) > 0:
            lacking[device] = over
    return lacking
