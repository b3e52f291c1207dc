"""What the engine is asked when texts are scored; part of `localq.engine.protocol`."""

from __future__ import annotations

from dataclasses import dataclass

from localq.engine.settings import LoadSettings

__all__ = ["LoadBeside", "ModelScores", "Score", "Scores"]


@dataclass(frozen=True, slots=True)
class LoadBeside:
    """Load one more model that `Score` compares with the one of `Load`; the next `Load` gives them
    all back."""

    settings: LoadSettings


@dataclass(frozen=True, slots=True)
class Score:
    """Read a part of a longer text with all models, and score how likely each finds its tokens
    from number `first` + 1 on.

    `rounded`: compare with the first model's probabilities as llama-perplexity keeps them in a
    file, in 16 bits.
    """

    tokens: tuple[int, ...]
    first: int
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Of one model, one value for each scored token. The last two are empty for the first model."""

    nll: tuple[float, ...]
    """Negative natural logarithm of what the model gave the token that came."""
    kld: tuple[float, ...] = ()
    """Kullback-Leibler divergence of its probabilities from the first model's, in nats."""
    same_top: tuple[int, ...] = ()
    """1 where its likeliest token is the first model's, else 0."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The model of `Load` first, then those of `LoadBeside` in their order."""

    models: tuple[ModelScores, ...]
