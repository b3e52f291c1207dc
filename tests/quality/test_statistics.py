"""Means, errors and percentiles, beside the same in plain steps."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.quality.statistics import Comparison, Moments, spread

VALUES = st.lists(st.floats(0, 20), min_size=1, max_size=60)


def plain(values: list[float]) -> tuple[float, float]:
    """Mean and error as llama.cpp's mean_and_uncertainty takes them."""
    count = len(values)
    mean = sum(values) / count
    variance = sum(value * value for value in values) / count - mean * mean
    known = variance > 0 and count > 10
    return mean, math.sqrt(variance / (count - 1)) if known else 0.0


@given(VALUES, st.integers(0, 60))
def test_moments_do_not_depend_on_how_values_come(values: list[float], cut: int) -> None:
    moments = Moments()
    moments.add(np.array(values[:cut]))
    moments.add(np.array(values[cut:]))
    mean, error = plain(values)
    assert moments.estimate.value == pytest.approx(mean, abs=1e-9)
    assert moments.estimate.error == pytest.approx(error, abs=1e-5)


def test_nothing_has_no_error() -> None:
    assert Moments().estimate.value == 0
    few = Moments()
    few.add(np.array([1.0, 2.0]))
    assert few.estimate.error == 0
    assert few.exponential.value == pytest.approx(math.exp(1.5))


def test_a_hopeless_perplexity_is_infinite() -> None:
    moments = Moments()
    moments.add(np.full(20, 1e4))
    assert moments.exponential.value == math.inf


@given(VALUES)
def test_percentiles_lie_between_the_values_beside_them(values: list[float]) -> None:
    found = spread(np.array(values))
    ordered = sorted(values)
    assert (found.minimum, found.maximum) == (ordered[0], ordered[-1])
    place = 0.9 * (len(values) - 1)
    low = ordered[int(place)]
    high = ordered[min(int(place) + 1, len(values) - 1)]
    assert found.p90 == pytest.approx(low + (place % 1) * (high - low), abs=1e-9)


def test_errors_of_a_comparison_know_that_both_read_the_same() -> None:
    """The ratio's error is that of the differences, far below that of either perplexity."""
    choose = random.Random(4)
    base = np.array([choose.uniform(0, 8) for _ in range(500)])
    change = np.array([choose.gauss(0.01, 0.1) for _ in range(500)])
    comparison = Comparison()
    for part in (slice(0, 100), slice(100, 500)):
        comparison.add(base[part] + change[part], base[part], change[part] ** 2, np.ones(500)[part])
    found = comparison.divergence("base")
    _, error = plain(list(change))
    assert found.log_ratio.value == pytest.approx(change.mean())
    assert found.log_ratio.error == pytest.approx(error)
    assert found.same_top.value == 1
    assert found.same_top.error == 0
    assert found.kld.value == pytest.approx(np.square(change).mean())
    assert found.correlation is not None
    assert 0.99 < found.correlation < 1


def test_two_models_that_are_the_same_differ_in_nothing() -> None:
    nll = np.linspace(0.5, 3, 50)
    comparison = Comparison()
    comparison.add(nll, nll, np.zeros(50), np.ones(50))
    found = comparison.divergence("base")
    assert found.ratio.value == 1
    assert found.ratio.error == pytest.approx(0, abs=1e-8)
    assert (found.p_change_rms.value, found.p_change_rms.error) == (0, 0)
    assert found.kld_spread.maximum == 0
