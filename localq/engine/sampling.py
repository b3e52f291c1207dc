"""How the next token is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from localq.errors import UsageError

__all__ = ["SamplingParams"]

_MAX_SEED = 2**32 - 2  # llama.cpp reads 2**32 - 1 as "any seed"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Settings of one generation, applied in this order: repeat_penalty, top_k, top_p, min_p,
    temperature, seed. UsageError names a value out of range."""

    max_tokens: int = 512
    """Generate at most this many."""
    temperature: float = 0.8
    """0 always takes the likeliest token; then top_k, top_p, min_p and seed do not matter."""
    top_k: int = 40
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 0.95
    """The likeliest tokens that together have this probability; 1: all."""
    min_p: float = 0.05
    """Tokens at least this probable relative to the likeliest; 0: all."""
    repeat_penalty: float = 1.0
    """Above 1, tokens among the last 64 become less likely; 1: off."""
    seed: int | None = None
    """The same seed, prompt and model give the same text; None: a different one each time."""

    def __post_init__(self) -> None:
        _check("max_tokens", self.max_tokens, 0, math.inf)
        _check("temperature", self.temperature, 0, 100)
        _check("top_k", self.top_k, 0, 2**31 - 1)
        _check("top_p", self.top_p, 0, 1)
        _check("min_p", self.min_p, 0, 1)
        _check("repeat_penalty", self.repeat_penalty, 0.01, 100)
        if self.seed is not None:
            _check("seed", self.seed, 0, _MAX_SEED)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        upper = "" if most == math.inf else f" and at most {most}"
        raise UsageError(f"{name} is {value}; it must be at least {least}{upper}")
