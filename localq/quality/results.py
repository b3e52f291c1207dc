"""What evaluations find, in the terms of llama-perplexity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Divergence",
    "Estimate",
    "EvaluatedModel",
    "EvaluatedText",
    "Evaluation",
    "Spread",
]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the standard error of it."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread; `p90`: 90 % of them are below it."""

    maximum: float
    p99_9: float
    p99: float
    p95: float
    p90: float
    p75: float
    median: float
    p25: float
    p10: float
    p5: float
    p1: float
    p0_1: float
    minimum: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a model is from the base, token by token of the text.

    Probabilities are shares of 1. `ratio` and `difference` are of the perplexities, the model's to
    (minus) the base's; their errors take into account that both read the same text.
    """

    base: str
    """The base model's name."""
    kld: Estimate
    """Kullback-Leibler divergence from the base's probabilities, in nats."""
    kld_spread: Spread
    same_top: Estimate
    """Share of the tokens for which both find the same token likeliest."""
    p_change: Estimate
    """What the model gives the token that came, minus what the base gives it."""
    p_change_rms: Estimate
    """The root of the mean square of that."""
    p_change_spread: Spread
    ratio: Estimate
    log_ratio: Estimate
    difference: Estimate
    correlation: float | None
    """Of both models' log-likelihoods, -1 to 1; None where they are all the same."""


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """What became of one model. `chunks` of the text were read, and `tokens` in them scored;
    `divergence` None: there was no base, or this is it."""

    model: str
    path: Path
    quant: str
    size_bytes: int
    perplexity: Estimate
    log_perplexity: Estimate
    chunks: int
    tokens: int
    whole_text: bool
    """Whether the text was read to its end."""
    divergence: Divergence | None = None


@dataclass(frozen=True, slots=True)
class EvaluatedText:
    """A text is known by its `sha256`; `name` is what it was called."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Models that read the same text in chunks of `n_ctx` tokens, the base first where there is
    one. `rounded`: compared with the base's probabilities in 16 bits. `measured_at` is in seconds
    since 1970."""

    models: tuple[EvaluatedModel, ...]
    text: EvaluatedText
    n_ctx: int
    rounded: bool
    seconds: float
    measured_at: float
    engine: str
    machine: str
