"""How to quantize for a machine and a use: method, format, and the library that runs it.

The rule:

1. A processor alone runs GGUF: Q5_1 where quality goes first, else Q4_0.
2. Where a GPU holds a part of the model: GGUF Q4_K_M, as many layers on the GPU as fit.
3. A GPU that holds all of it: where quality goes first, 16 bits or Q8_0 if they simply fit; then
   AWQ, which keeps more of the quality at 4 bits. Else GPTQ, which more programs and cards take.
   For one person at a time GGUF on the GPU does as well and needs no second format: Q4_K_M, and
   Q8_0 where it fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from localq.messages import msg

__all__ = ["Hardware", "MethodChoice", "Priority", "Situation", "Use", "choose_method"]

_ROOM = 0.8
"""Of a device's memory: the rest is for the context."""
_BITS = {"F16": 16.0, "Q8_0": 8.5}


class Hardware(StrEnum):
    CPU = "cpu"
    GPU = "gpu"
    HYBRID = "hybrid"
    """A GPU that holds a part of the model."""


class Use(StrEnum):
    PRODUCTION = "production"
    """Many people at once."""
    RESEARCH = "research"
    """To compare and to go on training."""
    PERSONAL = "personal"


class Priority(StrEnum):
    QUALITY = "quality"
    SPEED = "speed"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Situation:
    """`parameters` and `device_bytes` None: not known."""

    hardware: Hardware
    use: Use = Use.PERSONAL
    priority: Priority = Priority.QUALITY
    parameters: int | None = None
    device_bytes: int | None = None

    def fits(self, type_: str) -> bool:
        """Whether the model of this type leaves room for its context on the device."""
        if self.parameters is None or self.device_bytes is None:
            return False
        return self.parameters * _BITS[type_] / 8 <= _ROOM * self.device_bytes


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """`method` GGUF, AWQ or GPTQ; `format` is a type of GGUF files, or INT4."""

    method: str
    format: str
    library: str
    advantages: tuple[str, ...]
    reason: str


def choose_method(situation: Situation) -> MethodChoice:
    """Choose by the rule above."""
    quality = situation.priority is Priority.QUALITY
    match situation.hardware:
        case Hardware.CPU if quality:
            return _gguf("Q5_1", msg("a processor reads GGUF best, and quality goes first"))
        case Hardware.CPU:
            return _gguf("Q4_0", msg("each token reads all weights: the fewest bytes are quickest"))
        case Hardware.HYBRID:
            return _gguf(
                "Q4_K_M",
                msg("the GPU takes as many layers as fit, and the processor the rest"),
                msg("layers on the GPU, as many as fit"),
            )
    return _on_gpu(situation, quality)


def _on_gpu(situation: Situation, quality: bool) -> MethodChoice:
    if situation.use is Use.PERSONAL:
        if quality and situation.fits("Q8_0"):
            return _gguf("Q8_0", msg("it simply fits the GPU, and nobody can tell it from 16 bits"))
        return _gguf("Q4_K_M", msg("one person at a time needs no second format on a GPU"))
    if quality and situation.fits("F16"):
        return MethodChoice(
            "none",
            "F16",
            "vLLM",
            (msg("the model as it was published"), msg("nothing to quantize")),
            msg("it simply fits the GPU in 16 bits"),
        )
    if quality:
        return MethodChoice(
            "AWQ",
            "INT4",
            "vLLM",
            (
                msg("keeps the weights that matter most: the best quality at 4 bits"),
                msg("many requests at once"),
            ),
            msg("on a GPU, AWQ loses least of the quality at 4 bits"),
        )
    return MethodChoice(
        "GPTQ",
        "INT4",
        "vLLM" if situation.use is Use.PRODUCTION else "transformers",
        (
            msg("runs in most programs and on most cards"),
            msg("a quarter of the memory of 16 bits"),
        ),
        msg("on a GPU, GPTQ has the widest reach at 4 bits"),
    )


def _gguf(type_: str, reason: str, *more: str) -> MethodChoice:
    advantages = (
        *more,
        msg("one file, on every machine"),
        msg("made here in one pass, without a GPU"),
    )
    return MethodChoice("GGUF", type_, "llama.cpp", advantages, reason)
