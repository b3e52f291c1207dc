"""How much of a machine's memory a plan may use."""

from __future__ import annotations

from dataclasses import dataclass

from localq.hardware.profile import Device, HardwareProfile
from localq.planning.offload_plan import DeviceBudget

__all__ = ["HostAndDevices", "host_and_devices"]

_MIB = 1 << 20
_MAX_DEVICES = 16  # llama_max_devices
_DEVICE_MARGIN = 1024 * _MIB
"""What llama.cpp's own fitting leaves free. The driver's context and the libraries' work space
come out of it."""
_HOST_MARGIN = 1024 * _MIB
_LEAST_HOST_MARGIN = 128 * _MIB


@dataclass(frozen=True, slots=True)
class HostAndDevices:
    """Budgets; `devices` in the order in which llama.cpp spreads layers over them."""

    host: DeviceBudget
    devices: tuple[DeviceBudget, ...]
    unified: tuple[bool, ...]
    """Which devices use the machine's own memory: what they take, the host has not."""


def host_and_devices(profile: HardwareProfile, *, beside: int = 0) -> HostAndDevices:
    """What may be used of this machine's memory and of its devices'. `beside`: bytes that each
    must have free for what is loaded with the model."""
    memory = profile.memory
    if memory is None:
        host = DeviceBudget("host", None, _HOST_MARGIN + beside)
    else:
        # A sixteenth of a small machine's memory is enough for it to stay alive.
        margin = min(_HOST_MARGIN, max(_LEAST_HOST_MARGIN, memory.total // 16))
        host = DeviceBudget("host", memory.available, margin + beside)
    devices = _used_by_llama(profile.devices)
    return HostAndDevices(
        host,
        tuple(_budget(device, beside) for device in devices),
        tuple(device.unified for device in devices),
    )


def _used_by_llama(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """llama.cpp's choice: remote devices first; integrated ones only where there is no other."""
    remote = [d for d in devices if d.kind == "gpu" and d.backend == "RPC"]
    own = [d for d in devices if d.kind == "gpu" and d.backend != "RPC"]
    integrated = [] if own else [d for d in devices if d.kind == "igpu"]
    return (*remote, *own, *integrated)[:_MAX_DEVICES]


def _budget(device: Device, beside: int) -> DeviceBudget:
    total = device.total_bytes or device.free_bytes or 0
    # A device that does not say how much it has gets nothing, as in llama.cpp's own fitting.
    margin = min(_DEVICE_MARGIN, total // 4) + beside
    return DeviceBudget(device.id, device.free_bytes or 0, margin)
