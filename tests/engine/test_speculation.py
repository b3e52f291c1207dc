"""Guessing pays where guesses are right, and is not felt where they are wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.speculation import Acceptance, Chance, Speculation, StepTimes

Cost = Callable[[int], float]
"""Seconds of a batch of so many tokens."""


def by_the_token(tokens: int) -> float:
    return 0.8 + 0.2 * tokens


def by_four(tokens: int) -> float:
    """Kernels that work on four tokens at a time, and on those left over one by one."""
    return 1.5 * (tokens // 4) + 1.0 * (tokens % 4)


def run(
    cost: Cost, right: Callable[[], bool], *, texts: int = 1, tokens: int = 400, each: float = 0.0
) -> tuple[float, int]:
    """How many times as fast as without guesses, and how many guesses there were."""
    speculation = Speculation(15)
    acceptances = [Acceptance() for _ in range(texts)]
    seconds = 0.0
    generated = guessed = 0
    while generated < tokens * texts:
        counts = speculation.plan(texts, [Chance(15, one, each) for one in acceptances])
        hits = 0
        for count, acceptance in zip(counts, acceptances, strict=True):
            correct = 0
            while correct < count and right():
                correct += 1
            if count:
                acceptance.record(count, correct)
            hits += correct
        took = cost(texts + sum(counts))
        speculation.record(texts, sum(counts), hits, took, each * sum(counts))
        seconds += took + each * sum(counts)
        generated += texts + hits
        guessed += sum(counts)
    return generated / seconds / (texts / cost(texts)), guessed


@pytest.mark.parametrize("cost", [by_the_token, by_four])
@pytest.mark.parametrize("each", [0.0, 0.1])
def test_right_guesses_pay(cost: Cost, each: float) -> None:
    choose = random.Random(0)
    speed, _ = run(cost, lambda: choose.random() < 0.95, each=each)
    assert speed > (1.3 if each else 1.75)


@pytest.mark.parametrize("cost", [by_the_token, by_four, float])
@pytest.mark.parametrize("texts", [1, 3, 8])
@pytest.mark.parametrize("tokens", [50, 500])
def test_wrong_guesses_are_not_felt(cost: Cost, texts: int, tokens: int) -> None:
    speed, guessed = run(cost, lambda: False, texts=texts, tokens=tokens)
    # Where a batch saves nothing at all, the first guesses cost what they are.
    assert speed > (0.97 if tokens > 50 or cost is not float else 0.94)
    assert guessed <= texts * tokens // 4 + 8 or cost is by_four  # there they may be free


@settings(deadline=None, max_examples=15)
@given(
    share=st.floats(0, 1),
    base=st.floats(0, 10),
    texts=st.integers(1, 6),
    each=st.floats(0, 2),
    seed=st.integers(0, 99),
)
def test_it_never_loses_much(share: float, base: float, texts: int, each: float, seed: int) -> None:
    choose = random.Random(seed)
    speed, _ = run(
        lambda tokens: base + tokens,
        lambda: choose.random() < share,
        texts=texts,
        tokens=200,
        each=each * (base + texts),
    )
    assert speed > 0.96


def test_it_begins_anew_when_guesses_become_right() -> None:
    choose = random.Random(1)
    guessed = 0

    def right() -> bool:
        nonlocal guessed
        guessed += 1
        return guessed > 10 and choose.random() < 0.98

    speed, _ = run(by_the_token, right, tokens=1500)
    assert speed > 1.5


def test_many_texts_at_once_make_guesses_dear() -> None:
    choose = random.Random(2)
    _, alone = run(by_the_token, lambda: choose.random() < 0.5, tokens=200)
    _, many = run(by_the_token, lambda: choose.random() < 0.5, texts=12, tokens=200)
    assert many / 12 < alone / 4


def test_nothing_is_guessed_before_a_token_was_timed() -> None:
    assert Speculation(15).plan(1, [Chance(15, Acceptance())]) == [0]


def test_no_more_than_the_batch_has_room_for() -> None:
    speculation = Speculation(7)
    speculation.record(2, 0, 0, 1.0)
    assert sum(speculation.plan(2, [Chance(15, Acceptance()), Chance(15, Acceptance())])) <= 7


def test_times_lie_between_those_measured() -> None:
    times = StepTimes()
    assert times(3) == 0
    times.record(1, 1.0)
    assert 1 < times(2) < times(5) < 2
    times.record(5, 3.0)
    assert times(3) == pytest.approx(2.0)
    times.record(5, 300.0)  # the machine was busy for a moment
    assert times(5) < 5
    times.record(5, 0.0)
    times = StepTimes()
    times.record(8, 2.0)
    assert 0 < times(1) < times(4) < 2
