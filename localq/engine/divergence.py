"""How far one model's probabilities are from another's, out of both their logits.

Row by row, in float32 with sums in float64, as llama-perplexity does; but each row's exponentials
are taken once, whatever it is compared with. `rounded` gives the first model's probabilities as
llama-perplexity reads them back from its file of 16-bit numbers (llama.cpp
`tools/perplexity/perplexity.cpp`). Importing this imports numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Base", "NotFinite", "divergence", "exact", "rounded"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LEAST_LOG = np.float32(-16)
_LEVELS = np.float32(65535)


class NotFinite(Exception):
    """There are logits that are not numbers."""


@dataclass(frozen=True, slots=True)
class Base:
    """The probabilities to compare with, [rows, n_vocab]: those of a row are `weights` / `norm`,
    and their logarithms `logs` + `offset`."""

    logs: Floats
    weights: Floats
    mass: Doubles
    """The sum of `weights`."""
    norm: Doubles
    offset: Doubles
    top: Integers
    nll: Doubles


def exact(logits: Floats, targets: Integers) -> Base:
    """The probabilities that `logits` stand for. NotFinite."""
    logs, weights, top, mass = _softmax(logits)
    offset = -np.log(mass)
    nll = -offset - _at(logs, targets).astype(np.float64)
    return Base(logs, weights, mass, mass, offset, top, nll)


def rounded(logits: Floats, targets: Integers) -> Base:
    """The same after 16 bits of each row: 65,536 steps down to e^-16 of the likeliest, below which
    nothing is told apart, and nothing below e^-16 counts. NotFinite."""
    shifted, _, _, mass = _softmax(logits)
    least = np.maximum(shifted.min(axis=1), _LEAST_LOG)
    scale = -least / _LEVELS
    lowest = least - np.log(mass).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint((shifted - least[:, None]) * (1 / scale)[:, None])
    steps[~(shifted > least[:, None])] = 0
    logs = steps * scale[:, None] + lowest[:, None]
    weights = np.exp(logs)
    weights[logs <= _LEAST_LOG] = 0
    ones = np.ones(len(logits))
    sums = weights.sum(axis=1, dtype=np.float64)
    nll = -_at(logs, targets).astype(np.float64)
    return Base(logs, weights, sums, ones, np.zeros(len(logits)), logs.argmax(axis=1), nll)


def divergence(base: Base, logits: Floats, targets: Integers) -> tuple[Doubles, Doubles, Integers]:
    """Of the model with `logits`: each token's negative log-likelihood, the divergence from `base`
    (nats), and whether both find the same token likeliest. NotFinite."""
    shifted, scratch, top, mass = _softmax(logits)
    log_mass = np.log(mass)
    nll = log_mass - _at(shifted, targets).astype(np.float64)
    with np.errstate(invalid="ignore"):
        terms = np.subtract(base.logs, shifted, out=scratch)
        terms *= base.weights
    sums = terms.sum(axis=1, dtype=np.float64)
    if not np.isfinite(sums).all():  # a token that both rule out adds nothing
        terms[base.weights == 0] = 0
        sums = terms.sum(axis=1, dtype=np.float64)
    kld = (sums + (base.offset + log_mass) * base.mass) / base.norm
    return nll, kld, (top == base.top).astype(np.int64)


def _softmax(logits: Floats) -> tuple[Floats, Floats, Integers, Doubles]:
    """The logits below the largest of their row, their exponentials, the place of the largest, and
    the sum of the exponentials."""
    top = logits.argmax(axis=1)  # of a NaN, where there is one
    largest = _at(logits, top)
    if not np.isfinite(largest).all():
        raise NotFinite
    shifted = logits - largest[:, None]
    weights = np.exp(shifted)
    return shifted, weights, top, weights.sum(axis=1, dtype=np.float64)


def _at(rows: Floats, columns: Integers) -> Floats:
    values: Floats = rows[np.arange(len(rows)), columns]
    return values
