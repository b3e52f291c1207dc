"""Means, their errors and their spread, as llama-perplexity computes them (llama.cpp
`tools/perplexity/perplexity.cpp`, kl_divergence). Importing this imports numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from localq.quality.results import Divergence, Estimate, Spread

__all__ = ["Comparison", "Moments", "spread"]

Values = npt.NDArray[np.float64]

_FEWEST = 10
"""Of fewer values no error is said."""


@dataclass(slots=True)
class Moments:
    """The mean of values that come bit by bit."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: Values) -> None:
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float(np.square(values).sum())

    @property
    def estimate(self) -> Estimate:
        if not self.count:
            return Estimate(0.0, 0.0)
        mean = self.total / self.count
        variance = self.squares / self.count - mean * mean
        known = variance > 0 and self.count > _FEWEST
        return Estimate(mean, math.sqrt(variance / (self.count - 1)) if known else 0.0)

    @property
    def exponential(self) -> Estimate:
        """e to the power of the mean: the perplexity, where the values are log-likelihoods."""
        log = self.estimate
        try:
            value = math.exp(log.value)
        except OverflowError:
            value = math.inf
        return Estimate(value, value * log.error)


@dataclass(slots=True)
class Comparison:
    """One model against the base; all values are of the same tokens."""

    nll: Moments = field(default_factory=Moments)
    base_nll: Moments = field(default_factory=Moments)
    _products: float = 0.0
    kld: Moments = field(default_factory=Moments)
    p_change: Moments = field(default_factory=Moments)
    p_change_square: Moments = field(default_factory=Moments)
    same_top: int = 0
    _klds: list[Values] = field(default_factory=list)
    _p_changes: list[Values] = field(default_factory=list)

    def add(self, nll: Values, base_nll: Values, kld: Values, same_top: Values) -> None:
        """More tokens: what both models made of each."""
        self.nll.add(nll)
        self.base_nll.add(base_nll)
        self._products += float(nll @ base_nll)
        self.kld.add(kld)
        p_change = np.exp(-nll) - np.exp(-base_nll)
        self.p_change.add(p_change)
        self.p_change_square.add(np.square(p_change))
        self.same_top += int(same_top.sum())
        self._klds.append(kld)
        self._p_changes.append(p_change)

    def divergence(self, base: str) -> Divergence:
        """What there is to say of the tokens so far, at least one."""
        log, base_log = self.nll.estimate, self.base_nll.estimate
        covariance = self._covariance(log, base_log)
        log_ratio = Estimate(
            log.value - base_log.value,
            _root(log.error**2 + base_log.error**2 - 2 * covariance),
        )
        ratio = math.exp(min(700.0, log_ratio.value))
        own, other = self.nll.exponential, self.base_nll.exponential
        difference = Estimate(
            own.value - other.value,
            _root(own.error**2 + other.error**2 - 2 * own.value * other.value * covariance),
        )
        errors = log.error * base_log.error
        square = self.p_change_square.estimate
        rms = _root(square.value)
        return Divergence(
            base=base,
            kld=self.kld.estimate,
            kld_spread=spread(np.concatenate(self._klds)),
            same_top=self._agreement(),
            p_change=self.p_change.estimate,
            p_change_rms=Estimate(rms, 0.5 / rms * square.error if rms else 0.0),
            p_change_spread=spread(np.concatenate(self._p_changes)),
            ratio=Estimate(ratio, ratio * log_ratio.error),
            log_ratio=log_ratio,
            difference=difference,
            correlation=covariance / errors if errors else None,
        )

    def _covariance(self, log: Estimate, base_log: Estimate) -> float:
        count = self.nll.count
        if count < _FEWEST:
            return 0.0
        return (self._products / count - log.value * base_log.value) / (count - 1)

    def _agreement(self) -> Estimate:
        count = self.nll.count
        share = self.same_top / count
        return Estimate(share, _root(share * (1 - share) / (count - 1)) if count > 1 else 0.0)


def spread(values: Values) -> Spread:
    """Percentiles, linear between two values; of at least one value."""
    shares = (100, 99.9, 99, 95, 90, 75, 50, 25, 10, 5, 1, 0.1, 0)
    return Spread(*(float(value) for value in np.percentile(values, shares)))


def _root(value: float) -> float:
    """Of what rounding may have made a little negative."""
    return math.sqrt(max(0.0, value))
