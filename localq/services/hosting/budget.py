"""The memory that all loaded models of this machine share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localq.engine.resident import parse_status
from localq.hardware.profile import HardwareProfile
from localq.planning.budgets import host_and_devices
from localq.planning.offload_plan import OffloadPlan
from localq.planning.room import Footprint, Tenant
from localq.services.hosting.registry import WorkerRecord

__all__ = ["HOST", "Budget", "footprint_of", "mapped_by", "measure_budget"]

HOST = "host"


@dataclass(frozen=True, slots=True)
class Budget:
    """`profile` is the machine as it is now, `everything` what its devices could hold if no model
    were loaded: bytes, None where the system does not say."""

    profile: HardwareProfile
    everything: Mapping[str, int | None]

    def without_all_but(self, staying: Sequence[Tenant]) -> HardwareProfile:
        """The machine as it would be if of all models only these were loaded."""

        def free(device: str) -> int | None:
            whole = self.everything.get(device)
            held = sum(tenant.footprint.get(device, 0) for tenant in staying)
            return None if whole is None else max(0, whole - held)

        memory, available = self.profile.memory, free(HOST)
        if memory is not None and available is not None:
            memory = replace(memory, available=min(available, memory.total))
        devices = tuple(
            replace(device, free_bytes=free(device.id)) if device.id in self.everything else device
            for device in self.profile.devices
        )
        return replace(self.profile, memory=memory, devices=devices)

    @property
    def capacity(self) -> dict[str, int | None]:
        """What of it may be planned with."""
        machine = host_and_devices(self.profile)
        margins = {each.name: each.margin for each in (machine.host, *machine.devices)}
        return {
            name: None if whole is None else max(0, whole - margins[name])
            for name, whole in self.everything.items()
        }


def measure_budget(
    profile: HardwareProfile, workers: Iterable[WorkerRecord], limit: int | None = None
) -> Budget:
    """What there is for models, of which `workers` are loaded, or being loaded, already.

    What the system says is free plus what they have taken of it: weights in a mapped file still
    count as free there, and what is only being loaded is not taken yet. `limit`: the most of the
    host's memory that models may take together, bytes.
    """
    machine = host_and_devices(profile)
    margin = machine.host.margin
    everything = {each.name: each.free for each in (machine.host, *machine.devices)}
    for worker in workers:
        for device in worker.devices:
            if (known := everything.get(device)) is not None:
                everything[device] = known + _taken(worker, device)
    host = everything.get(HOST)
    if limit is not None:
        everything[HOST] = limit + margin if host is None else min(host, limit + margin)
    return Budget(profile, everything)


def footprint_of(plan: OffloadPlan, profile: HardwareProfile) -> Footprint:
    """What a plan takes of each device. What a device takes that has no memory of its own, it takes
    of the host's too."""
    unified = {device.id for device in profile.devices if device.unified}
    devices = plan.estimate.devices[1:]
    shared = sum(device.total for device in devices if device.name in unified)
    # The first device that is used gets what comes with the model; who cannot tell counts it twice.
    first = next((device.name for device in devices if device.total), None)
    return {
        HOST: plan.estimate.host.total + shared + plan.beside_bytes,
        **{
            device.name: device.total + (plan.beside_bytes if device.name == first else 0)
            for device in devices
            if device.total
        },
    }


def mapped_by(plan: OffloadPlan) -> int:
    """Bytes of the host's that are the file itself, which the system takes back where it must."""
    return plan.estimate.host.weights if plan.use_mmap and not plan.use_mlock else 0


def _taken(worker: WorkerRecord, device: str) -> int:
    """Bytes of its memory that the system does not count as free any more."""
    planned = worker.footprint.get(device, 0)
    if device != HOST:
        return 0 if worker.state == "loading" else planned
    if worker.pid is not None and sys.platform == "linux":
        try:
            status = Path(f"/proc/{worker.pid}/status").read_text("ascii", "replace")
        except OSError:
            return 0  # it has just ended
        if (anonymous := parse_status(status).anonymous_bytes) is not None:
            locked = planned if not worker.mapped and worker.state != "loading" else 0
            return max(anonymous, locked)
    return 0 if worker.state == "loading" else max(0, planned - worker.mapped)
