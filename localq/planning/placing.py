"""Which layers go to which device so that nothing is overfull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from localq.planning.budgets import HostAndDevices
from localq.planning.compute_buffers import compute_bytes, pipeline_bytes
from localq.planning.estimate import (
    ENGINE_BYTES,
    DeviceMemory,
    MemoryEstimate,
    Placement,
    beside,
    estimate_memory,
)
from localq.planning.kv_cache import CacheSettings, cache_bytes
from localq.planning.model_shape import ModelShape

__all__ = ["Placer"]


@dataclass(frozen=True)  # without slots, for what is computed once
class Placer:
    """One model in one context on one machine."""

    shape: ModelShape
    settings: CacheSettings
    machine: HostAndDevices
    use_mmap: bool
    n_draft: int = 0
    draft: ModelShape | None = None
    """A model that guesses for this one, in host memory, with a context of the same length."""

    @property
    def total(self) -> int:
        """Layers, the output as one more."""
        return self.shape.n_layer + 1

    def estimate(self, placement: Placement) -> MemoryEstimate:
        names = [device.name for device in self.machine.devices]
        estimate = estimate_memory(
            self.shape,
            self.settings,
            placement,
            device_names=names,
            n_outputs=self.settings.n_seq + self.n_draft,
            use_mmap=self.use_mmap,
            cache=self._cache,
        )
        return estimate if self._draft is None else beside(estimate, self._draft)

    def overfull(self, estimate: MemoryEstimate) -> list[tuple[str, int, int]]:
        """Devices on which there is not enough: name, bytes needed, bytes usable."""
        found = []
        host = estimate.host.total
        for memory, budget, unified in zip(
            estimate.devices[1:], self.machine.devices, self.machine.unified, strict=False
        ):
            usable = budget.usable or 0
            if memory.total > usable:
                found.append((budget.name, memory.total, usable))
            if unified:
                host += memory.total
        usable_host = self.machine.host.usable
        if usable_host is not None and host > usable_host:
            found.insert(0, ("host", host, usable_host))
        return found

    def whole(self) -> Placement | None:
        """Every layer on devices, if they can take them; how the host fares is not looked at."""
        return self._filled(0, whole=True, most=self.total)

    def with_experts_on_host(self) -> Placement | None:
        """Every layer on devices, but as few experts as must be in host memory."""
        if not any(layer.experts for layer in self.shape.layers):
            return None
        low, high = 1, self.shape.n_layer
        if self._complete(high) is None:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._complete(middle) is None:
                low = middle + 1
            else:
                high = middle
        return self._complete(low)

    def partly(self) -> Placement:
        """As many layers as devices take, but not all; experts in host memory."""
        moe = self.shape.n_layer if any(layer.experts for layer in self.shape.layers) else 0
        placement = self._filled(moe, whole=False, most=self.total - 1)
        # The output alone is not worth the way there and back.
        return placement if placement and placement.n_gpu_layers > 1 else Placement()

    def exactly(self, layers: int, n_cpu_moe: int) -> Placement:
        """So many layers, spread as they fit best, or by what is free where they do not."""
        layers = min(layers, self.total)
        if layers == 0 or not self.machine.devices:
            return Placement()
        whole = layers == self.total and n_cpu_moe == 0
        filled = self._filled(n_cpu_moe, whole=whole, most=layers)
        if filled and filled.n_gpu_layers == layers:
            return filled
        return Placement(_by_share(layers, self._free), n_cpu_moe)

    @cached_property
    def _free(self) -> tuple[int, ...]:
        return tuple(device.usable or 0 for device in self.machine.devices)

    @cached_property
    def _draft(self) -> DeviceMemory | None:
        if self.draft is None:
            return None
        own = self.settings
        settings = CacheSettings(own.n_ctx, own.n_ubatch, own.n_seq)
        estimate = estimate_memory(self.draft, settings, use_mmap=self.use_mmap).host
        return replace(estimate, overhead=estimate.overhead - ENGINE_BYTES)  # one process for both

    @cached_property
    def _cache(self) -> tuple[int, ...]:
        return cache_bytes(self.shape, self.settings)

    @cached_property
    def _compute(self) -> tuple[int, int, int, int]:
        """Of layers, of the output alone, of several devices in turn, of borrowed weights."""
        return (
            compute_bytes(self.shape, self.settings),
            compute_bytes(self.shape, self.settings, layers=False),
            pipeline_bytes(self.shape, self.settings) if len(self._free) > 1 else 0,
            max(layer.largest for layer in self.shape.layers),
        )

    @cached_property
    def _sizes(self) -> tuple[list[int], list[int]]:
        """Of each layer, and of the output after them: with its experts, and without."""
        layers, output = self.shape.layers, self.shape.output_bytes + self.shape.other_bytes
        bare = [layer.weights + kept for layer, kept in zip(layers, self._cache, strict=True)]
        whole = [size + layer.experts for size, layer in zip(bare, layers, strict=True)]
        return [*whole, output], [*bare, output]

    def _complete(self, n_cpu_moe: int) -> Placement | None:
        placement = self._filled(n_cpu_moe, whole=False, most=self.total)
        return placement if placement and placement.n_gpu_layers == self.total else None

    def _filled(self, n_cpu_moe: int, *, whole: bool, most: int) -> Placement | None:
        """Devices filled from the last with layers from the last, at most so many; None where
        `whole` is asked for and they do not take all."""
        compute, compute_output, pipeline, borrowed = self._compute
        extra = pipeline if whole else borrowed
        complete, bare = self._sizes
        sizes = [*bare[:n_cpu_moe], *complete[n_cpu_moe:]] if n_cpu_moe else complete
        even = self._even(sizes, extra) if most == self.total else None
        if even:
            return Placement(even, n_cpu_moe)
        counts = [0] * len(self._free)
        n_layer = self.shape.n_layer
        position, stop = n_layer + 1, n_layer + 1 - most
        for number in reversed(range(len(counts))):
            room = self._free[number] - extra
            start = position
            fixed = compute if position <= n_layer else compute_output
            while position > stop:
                size = sizes[position - 1]
                needed = compute if position <= n_layer else compute_output
                if size > room - max(fixed, needed):
                    break
                fixed = max(fixed, needed)
                room -= size
                position -= 1
            counts[number] = start - position
        if whole and position > 0:
            return None
        return Placement(tuple(counts), n_cpu_moe) if any(counts) else None

    def _even(self, sizes: Sequence[int], extra: int) -> tuple[int, ...] | None:
        """All layers, spread by free memory, where every device can take its share so."""
        if len(self._free) < 2:
            return None
        counts = _by_share(self.total, self._free)
        fixed = max(self._compute[:2]) + extra
        first = 0
        for count, free in zip(counts, self._free, strict=True):
            if count and sum(sizes[first : first + count]) + fixed > free:
                return None
            first += count
        return counts


def _by_share(layers: int, free: Sequence[int]) -> tuple[int, ...]:
    """So many layers over devices, in proportion to what is free on each."""
    total = sum(free)
    if total == 0:
        return (layers, *(0 for _ in free[1:]))
    ends = [layers * sum(free[: number + 1]) // total for number in range(len(free))]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
