"""Which model to load and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from localq.errors import UsageError
from localq.formats.adapter import MAX_ADAPTERS, Adapter
from localq.formats.types import TensorType
from localq.messages import msg

__all__ = ["KV_TYPES", "MAX_CONTEXT", "MAX_THREADS", "FlashAttention", "LoadSettings", "Purpose"]

FlashAttention: TypeAlias = Literal["auto", "on", "off"]

Purpose: TypeAlias = Literal["text", "vectors"]

KV_TYPES: Mapping[str, TensorType] = {
    type_.name.lower(): type_
    for type_ in (
        TensorType.F32,
        TensorType.F16,
        TensorType.BF16,
        TensorType.Q8_0,
        TensorType.Q5_1,
        TensorType.Q5_0,
        TensorType.Q4_1,
        TensorType.Q4_0,
        TensorType.IQ4_NL,
    )
}
"""How keys and values can be kept, most exact first."""

MAX_CONTEXT = 1 << 24
"""Tokens; the longest context any model was trained with is 10 million."""
MAX_THREADS = 512
"""GGML_MAX_N_THREADS of llama.cpp, which ends the process where there are more."""
_MAX_BATCH = 1 << 20
_MAX_SEQUENCES = 256
_MAX_DRAFT = 64
_MAX_DEVICES = 16
_MAX_LAYERS = 1 << 16


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """UsageError names a value that makes no sense."""

    path: Path
    n_ctx: int | None = None
    """Tokens of prompt and reply together; None: the trained context, at most 4096."""
    n_threads: int | None = None
    """Threads that generate; None: every processor this process may use."""
    n_threads_batch: int | None = None
    """Threads that read prompts; None: as `n_threads`."""
    adapt_threads: bool = False
    """Whether `n_threads` is only where to begin: the engine then watches its own speed and uses
    fewer threads while others need the processors, never more than the larger of the two above."""
    n_gpu_layers: int = 0
    """Layers on devices, counted from the last; the output counts as one more. -1: all."""
    tensor_split: tuple[float, ...] | None = None
    """The share of each device; None: as llama.cpp sees fit."""
    n_cpu_moe: int = 0
    """The experts of so many layers, counted from the first, stay in host memory."""
    n_batch: int = 512
    """Prompt tokens read at a time."""
    n_ubatch: int | None = None
    """Prompt tokens computed at a time; None: as `n_batch`, at most 512."""
    type_k: str = "f16"
    """How keys are kept: one of KV_TYPES; only f32 keeps all of their digits."""
    type_v: str = "f16"
    flash_attn: FlashAttention = "auto"
    """auto: where the model and the device can, but not with f32, which it would round."""
    use_mmap: bool = True
    use_mlock: bool = False
    n_seq_max: int = 1
    """Texts that are read and continued at the same time; they share the context."""
    n_draft: int = 0
    """At most so many tokens are guessed in advance and read in one batch with those that are due,
    as long as that pays; 0: none."""
    draft: Path | None = None
    """A smaller model of the same vocabulary that guesses; None: the text alone is looked at."""

    checkpoint_bytes: int = 128 << 20
    """Of host memory, for going back in texts where recurrent layers or sliding windows cannot."""

    adapters: tuple[Adapter, ...] = ()
    """What the model learnt later: added to its weights while it computes."""

    projector: Path | None = None
    """What lets the model see pictures, in a file of its own; read when there is one to see."""

    state_folder: Path | None = None
    """Where what texts had in memory is kept when the engine is closed; None: nowhere."""
    state_bytes: int | None = None
    """The most that all states there take; None: 4 GB, or a tenth of what is free."""

    purpose: Purpose = "text"
    """vectors: nothing is kept for generating, which is then refused. A model that writes no text
    is loaded so in any case."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("n_ctx", 1, MAX_CONTEXT),
            ("n_threads", 1, MAX_THREADS),
            ("n_threads_batch", 1, MAX_THREADS),
            ("n_gpu_layers", -1, _MAX_LAYERS),
            ("n_cpu_moe", 0, _MAX_LAYERS),
            ("n_batch", 1, _MAX_BATCH),
            ("n_ubatch", 1, _MAX_BATCH),
            ("n_seq_max", 1, _MAX_SEQUENCES),
            ("n_draft", 0, _MAX_DRAFT),
            ("checkpoint_bytes", 0, 1 << 50),
            ("state_bytes", 0, 1 << 50),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                limit = f"at least {least}" if value < least else f"at most {most:,}"
                raise UsageError(
                    msg(
                        "{name} is {value}; it must be {limit}", name=name, value=value, limit=limit
                    )
                )
        for name in ("type_k", "type_v"):
            value = getattr(self, name)
            if value not in KV_TYPES:
                raise UsageError(
                    msg("{name} is {value!r}", name=name, value=value),
                    hint=msg("one of: {kv_types}", kv_types=", ".join(KV_TYPES)),
                )
        if self.flash_attn == "off" and KV_TYPES[self.type_v].is_quantized:
            raise UsageError(
                msg("values of type {type_v} need flash attention", type_v=self.type_v),
                hint=msg("leave flash attention on, or keep values as f16"),
            )
        if len(self.adapters) > MAX_ADAPTERS:
            raise UsageError(
                msg(
                    "{count} adapters; at most {most}",
                    count=len(self.adapters),
                    most=MAX_ADAPTERS,
                )
            )
        self._check_split()

    def _check_split(self) -> None:
        split = self.tensor_split
        if split is None:
            return
        if not 1 <= len(split) <= _MAX_DEVICES:
            raise UsageError(
                msg(
                    "a split over {split} devices; at most {max_devices}",
                    split=len(split),
                    max_devices=_MAX_DEVICES,
                )
            )
        if not all(0 <= share < 1e9 for share in split) or not sum(split) > 0:
            raise UsageError(
                msg("tensor_split is {split}; shares are 0 or more, not all of them 0", split=split)
            )
