"""What is made of logits, beside the same in plain double-precision steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from localq.engine.divergence import Base, NotFinite, divergence, exact, rounded

V = 300
ROWS = 7


def logits(seed: int, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (ROWS, V)).astype(np.float32)


TARGETS = np.arange(ROWS) * 11


def log_softmax(rows: np.ndarray) -> np.ndarray:
    doubles = rows.astype(np.float64)
    doubles -= doubles.max(axis=1, keepdims=True)
    return doubles - np.log(np.exp(doubles).sum(axis=1, keepdims=True))  # type: ignore[no-any-return]


def test_the_divergence_is_that_of_the_definition() -> None:
    base, other = logits(1), logits(2)
    nll, kld, same_top = divergence(exact(base, TARGETS), other, TARGETS)
    p, q = log_softmax(base), log_softmax(other)
    rows = np.arange(ROWS)
    assert nll == pytest.approx(-q[rows, TARGETS], rel=1e-5)
    assert kld == pytest.approx((np.exp(p) * (p - q)).sum(axis=1), rel=1e-5)
    assert list(same_top) == list(p.argmax(axis=1) == q.argmax(axis=1))
    assert exact(base, TARGETS).nll == pytest.approx(-p[rows, TARGETS], rel=1e-5)


@pytest.mark.parametrize("base_of", [exact, rounded])
def test_a_model_does_not_diverge_from_itself(base_of: Callable[..., Base]) -> None:
    rows = logits(3)
    _, kld, same_top = divergence(base_of(rows, TARGETS), rows, TARGETS)
    assert kld == pytest.approx(0, abs=1e-4 if base_of is rounded else 1e-12)
    assert same_top.all()


def test_rounded_probabilities_are_those_of_16_bits() -> None:
    """By llama-perplexity's own steps, one token at a time."""
    rows, other = logits(5, 6.0), logits(6, 6.0)
    base = rounded(rows, TARGETS)
    _nll, kld, _ = divergence(base, other, TARGETS)
    q = log_softmax(other)
    for row in range(ROWS):
        largest = rows[row].max()
        least = max(rows[row].min(), largest - np.float32(16))
        log_sum = np.float32(np.log(np.exp((rows[row] - largest).astype(np.float64)).sum()))
        scale = (largest - least) / np.float32(65535)
        steps = [round(float((x - least) / scale)) if x > least else 0 for x in rows[row]]
        p = [float(scale * step + (least - largest - log_sum)) for step in steps]
        assert base.nll[row] == pytest.approx(-p[TARGETS[row]], abs=3e-4)
        expected = sum(np.exp(p[i]) * (p[i] - q[row, i]) for i in range(V) if p[i] > -16)
        assert kld[row] == pytest.approx(expected, abs=1e-4)


def test_rows_that_are_all_the_same_can_be_rounded() -> None:
    flat = np.zeros((2, V), np.float32)
    _, kld, _ = divergence(rounded(flat, TARGETS[:2]), flat, TARGETS[:2])
    assert kld == pytest.approx(0, abs=1e-5)


def test_tokens_that_both_rule_out_add_nothing() -> None:
    base, other = logits(7), logits(8)
    plain = divergence(exact(base[:, :-1], TARGETS), other[:, :-1], TARGETS)[1]
    base[:, -1] = other[:, -1] = -np.inf
    assert divergence(exact(base, TARGETS), other, TARGETS)[1] == pytest.approx(plain)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    rows = logits(9)
    good = exact(rows.copy(), TARGETS)
    rows[3, 5] = bad
    for refused in (lambda: exact(rows, TARGETS), lambda: divergence(good, rows, TARGETS)):
        with pytest.raises(NotFinite):
            refused()
