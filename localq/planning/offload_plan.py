"""What a plan is made of: options, and the plan itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.formats.adapter import Adapter
from localq.planning.estimate import MemoryEstimate

__all__ = ["DeviceBudget", "OffloadPlan", "Tuned", "PlanOptions"]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the user decided; None: the plan decides."""

    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    """Counted from the last, the output as one more; -1: all."""
    n_cpu_moe: int | None = None
    n_threads: int | None = None
    n_threads_batch: int | None = None
    type_k: str | None = None
    type_v: str | None = None
    n_batch: int | None = None
    n_ubatch: int | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    flash_attn: str | None = None
    n_draft: int | None = None
    """Tokens that are guessed in advance, at most; 0: none."""
    draft: str | None = None
    """A smaller model that guesses: a name of the library, or a file."""
    adapters: tuple[Adapter, ...] | None = None
    n_seq_max: int | None = None
    """Texts that are continued at the same time, which no user decides: who loads the model does.
    None: one."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What measuring found to be fastest for this model on this machine."""

    n_threads: int
    n_threads_batch: int
    n_batch: int | None = None
    n_ubatch: int | None = None
    n_gpu_layers: int | None = None
    """Where fewer layers than fit are faster; None: not measured."""


@dataclass(frozen=True, slots=True)
class DeviceBudget:
    """Memory that may be planned with on one device, "host" for the machine's own; bytes."""

    name: str
    free: int | None
    """None: the system does not say, so that nothing is known to be too much."""
    margin: int
    """Left for others, and for what is not estimated."""

    @property
    def usable(self) -> int | None:
        return None if self.free is None else max(0, self.free - self.margin)


@dataclass(frozen=True, slots=True)
class OffloadPlan:
    """How to load a model on a machine. Names are llama-cpp-python's where it has them."""

    n_threads: int
    n_threads_batch: int
    n_gpu_layers: int
    """Layers on devices, counted from the last; the output counts as one more."""
    tensor_split: tuple[float, ...] | None
    """The layers of each device; None: there is one device, or none is used."""
    n_cpu_moe: int
    """The experts of so many layers, counted from the first, stay in host memory."""
    n_ctx: int
    type_k: str
    type_v: str
    n_batch: int
    n_ubatch: int
    use_mmap: bool
    use_mlock: bool
    flash_attn: str
    n_draft: int
    """Tokens that are guessed in advance, at most."""
    estimate: MemoryEstimate
    budgets: tuple[DeviceBudget, ...]
    """In the order of `estimate.devices`: the host first."""
    n_layers: int
    """Of the model, the output as one more."""
    reasons: tuple[str, ...]
    problem: str | None = None
    """Why it cannot run so; None: it can."""
    suggestions: tuple[str, ...] = ()
    """What smaller thing would run, likeliest first."""
    adapters: tuple[Adapter, ...] = ()
    """Added to the model as it is loaded."""
    beside_bytes: int = 0
    """What is loaded with the model takes so much beside `estimate`: adapters, a projector."""
    draft: Path | None = None
    """The model that guesses for it."""

    @property
    def fits(self) -> bool:
        return self.problem is None
