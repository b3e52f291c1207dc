"""How much memory a model will take, by device, before it is loaded.

`read_shape` needs a header alone, `estimate_memory` a shape: nothing here opens a file. What the
numbers are compared with, and how near they come: benchmarks/memory.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from localq.planning.compute_buffers import (
    compute_bytes,
    input_bytes,
    output_bytes,
    pipeline_bytes,
    work_bytes,
)
from localq.planning.kv_cache import CacheSettings, cache_bytes
from localq.planning.model_shape import ModelShape

__all__ = [
    "ENGINE_BYTES",
    "DeviceMemory",
    "MemoryEstimate",
    "Placement",
    "beside",
    "estimate_memory",
]

ENGINE_BYTES = 20 << 20
"""The engine's process without a model (measured on Linux); its program is in files, and not
counted."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model's layers go.

    `layers` says how many each device takes, the output counting as one more; they are the last
    ones, in the order of the devices. The rest stays in host memory, and so do the experts of the
    first `n_cpu_moe` layers.
    """

    layers: tuple[int, ...] = ()
    n_cpu_moe: int = 0

    @property
    def n_gpu_layers(self) -> int:
        return sum(self.layers)


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on one device; `name` is "host" for the machine's own memory."""

    name: str
    weights: int = 0
    kv_cache: int = 0
    """Keys, values and recurrent states."""
    compute: int = 0
    """Room for what is computed between weights, and for the output."""
    overhead: int = 0
    """The engine's process and its tokenizer."""

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.overhead


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """`devices` begins with the host."""

    devices: tuple[DeviceMemory, ...]
    approximate: bool = False
    """Whether the architecture keeps something that is not modelled."""

    @property
    def host(self) -> DeviceMemory:
        return self.devices[0]

    @property
    def weights(self) -> int:
        return sum(device.weights for device in self.devices)

    @property
    def kv_cache(self) -> int:
        return sum(device.kv_cache for device in self.devices)

    @property
    def compute(self) -> int:
        return sum(device.compute for device in self.devices)

    @property
    def overhead(self) -> int:
        return sum(device.overhead for device in self.devices)

    @property
    def total(self) -> int:
        return sum(device.total for device in self.devices)


def estimate_memory(
    shape: ModelShape,
    settings: CacheSettings,
    placement: Placement | None = None,
    *,
    device_names: Sequence[str] = (),
    n_outputs: int = 1,
    use_mmap: bool = True,
    cache: Sequence[int] | None = None,
) -> MemoryEstimate:
    """The memory of a model with one context. `n_outputs`: tokens of a batch whose logits are
    wanted; generation wants one. `cache`: the result of `cache_bytes`, for who has it already."""
    placement = placement or Placement()
    cache = cache_bytes(shape, settings) if cache is None else cache
    total_layers = shape.n_layer + 1
    start = max(0, total_layers - placement.n_gpu_layers)
    devices: list[DeviceMemory] = []
    borrowed = _borrowed(shape, start, placement.n_cpu_moe) if placement.n_gpu_layers else 0
    pipelined = start == 0 and len(placement.layers) > 1 and placement.n_cpu_moe == 0
    copies = pipeline_bytes(shape, settings) if pipelined else 0
    room: dict[tuple[bool, bool], int] = {}  # most devices need as much as each other
    first = start
    for number, count in enumerate(placement.layers):
        last = min(first + count, total_layers)
        name = device_names[number] if number < len(device_names) else f"device {number}"
        inner = range(first, min(last, shape.n_layer))
        output = last == total_layers and count > 0
        weights = sum(
            shape.layers[i].weights + (shape.layers[i].experts if i >= placement.n_cpu_moe else 0)
            for i in inner
        )
        compute = 0
        if count:
            computes = len(inner) > 0
            if (computes, output) not in room:
                room[computes, output] = compute_bytes(
                    shape, settings, n_outputs=n_outputs if output else 0, layers=computes
                )
            compute = room[computes, output] + borrowed + copies
            borrowed = 0  # llama.cpp lets the first device that can do it
        devices.append(
            DeviceMemory(
                name,
                weights + (shape.output_bytes + shape.other_bytes if output else 0),
                sum(cache[i] for i in inner),
                compute,
            )
        )
        first = last
    host = _host(shape, settings, placement, cache, start, n_outputs, use_mmap, copies)
    return MemoryEstimate((host, *devices), shape.approximate)


def beside(estimate: MemoryEstimate, host: DeviceMemory) -> MemoryEstimate:
    """The estimate with what another model takes of the host's memory."""
    own = estimate.host
    both = DeviceMemory(
        own.name,
        own.weights + host.weights,
        own.kv_cache + host.kv_cache,
        own.compute + host.compute,
        own.overhead + host.overhead,
    )
    return replace(estimate, devices=(both, *estimate.devices[1:]))


def _host(
    shape: ModelShape,
    settings: CacheSettings,
    placement: Placement,
    cache: Sequence[int],
    start: int,
    n_outputs: int,
    use_mmap: bool,
    copies: int,
) -> DeviceMemory:
    here = range(min(start, shape.n_layer))
    weights = shape.input_bytes
    weights += sum(shape.layers[i].weights + shape.layers[i].experts for i in here)
    weights += sum(layer.experts for layer in shape.layers[len(here) : placement.n_cpu_moe])
    outputs = placement.n_gpu_layers == 0
    if outputs:
        weights += shape.other_bytes
        if not shape.tied or (shape.tied_twice and not use_mmap):
            weights += shape.output_bytes
    computes = len(here) > 0 or placement.n_cpu_moe > 0
    if computes:
        compute = compute_bytes(shape, settings, n_outputs=n_outputs if outputs else 0)
    else:
        compute = input_bytes(shape, settings) + copies
    return DeviceMemory(
        "host",
        weights,
        sum(cache[i] for i in here),
        compute + output_bytes(shape, settings, n_outputs=n_outputs),
        ENGINE_BYTES + shape.vocabulary_bytes + (work_bytes(shape, settings) if computes else 0),
    )


def _borrowed(shape: ModelShape, start: int, n_cpu_moe: int) -> int:
    """To read prompts faster llama.cpp copies weights of the host to a device, one at a time."""
    here = [layer.largest for layer in shape.layers[:start]]
    experts = [layer.largest for layer in shape.layers[:n_cpu_moe] if layer.experts]
    return max(here + experts, default=0)
