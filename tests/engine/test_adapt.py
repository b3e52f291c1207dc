"""The engine's choice of threads while other programs come and go, on invented machines."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.adapt import ThreadAdapter, thread_levels

CORES = (2, 3, 4, 6, 8, 12, 16, 32)


def token_seconds(threads: int, cores: int, busy: int, position: int) -> float:
    """A machine on which threads that share a core with another program hold up all others."""
    seconds = 1 / threads + 0.05
    if over := max(0, threads - (cores - busy)):
        seconds *= 1 + 8 * over / threads
    if busy >= cores:
        seconds *= 2
    return seconds * (1 + position * 0.0003)


class Machine:
    """Generates with the adapter's choice, and reckons what every fixed number would have taken
    with the same noise."""

    def __init__(self, cores: int, noise: float, seed: int) -> None:
        self.cores = cores
        self.adapter = ThreadAdapter(cores, cores)
        self._random = random.Random(seed)
        self._noise = noise

    def generate(self, tokens: int, *, busy: int) -> dict[int, float]:
        """Seconds per number of threads; those of the adapter's choice are at 0."""
        taken = dict.fromkeys(range(self.cores + 1), 0.0)
        for position in range(tokens):
            noise = self._random.lognormvariate(0, self._noise)
            if self._random.random() < 0.01:
                noise *= self._random.uniform(2, 10)  # the system looks after something else
            if busy:
                noise *= self._random.lognormvariate(0, 0.1)  # whose turn it is, is chance
            for threads in range(1, self.cores + 1):
                taken[threads] += noise * token_seconds(threads, self.cores, busy, position)
            chosen = self.adapter.threads
            seconds = noise * token_seconds(chosen, self.cores, busy, position)
            taken[0] += seconds
            self.adapter.record(seconds)
        return taken


def efficiency(taken: dict[int, float]) -> float:
    """The speed beside that of the best fixed number of threads."""
    return min(seconds for threads, seconds in taken.items() if threads) / taken[0]


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_on_a_quiet_machine_it_costs_at_most_5_percent(cores: int, noise: float) -> None:
    for seed in range(5):
        machine = Machine(cores, noise, seed)
        first = machine.generate(128, busy=0)
        assert efficiency(first) > (0.97 if noise < 0.1 else 0.95)
        assert efficiency(machine.generate(1024, busy=0)) > 0.97
        assert machine.adapter.settled >= 0.9 * cores


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_when_others_come_most_of_the_loss_is_recovered(cores: int, noise: float) -> None:
    for seed in range(5):
        machine = Machine(cores, noise, seed)
        machine.generate(200, busy=0)
        taken = machine.generate(512, busy=max(1, cores // 2))
        assert efficiency(taken) > 0.75
        assert taken[0] < 0.6 * taken[cores]


@pytest.mark.parametrize("cores", CORES)
def test_a_machine_that_was_busy_from_the_beginning(cores: int) -> None:
    machine = Machine(cores, 0.05, 1)
    taken = machine.generate(256, busy=max(1, cores // 2))
    assert taken[0] < 0.6 * taken[cores]


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_when_others_go_all_threads_come_back(cores: int, noise: float) -> None:
    for seed in range(5):
        machine = Machine(cores, noise, seed)
        machine.generate(64, busy=0)
        machine.generate(400, busy=max(1, cores // 2))
        machine.generate(1200, busy=0)
        assert efficiency(machine.generate(400, busy=0)) > 0.93


def test_a_beginning_with_too_few_threads_is_mended() -> None:
    adapter = ThreadAdapter(1, 4)
    for position in range(600):
        adapter.record(token_seconds(adapter.threads, 4, 0, position))
    assert adapter.settled == 4


def test_hiccups_change_nothing() -> None:
    machine = Machine(4, 0.02, 3)
    adapter = machine.adapter
    for position in range(2000):
        seconds = token_seconds(adapter.threads, 4, 0, position)
        adapter.record(seconds * (30 if position % 40 == 0 else 1))
    assert adapter.settled == 4


def test_a_growing_context_is_no_other_program() -> None:
    adapter = ThreadAdapter(8, 8)
    for position in range(20_000):
        adapter.record(token_seconds(adapter.threads, 8, 0, position))
    assert adapter.settled == 8


def test_trials_become_rare() -> None:
    adapter = ThreadAdapter(2, 2)
    tried = []
    for position in range(4000):
        if adapter.threads != adapter.settled:
            tried.append(position)
        adapter.record(token_seconds(adapter.threads, 2, 0, position))
    first, *later = tried
    assert first <= 6  # whether others compute all the time cannot be seen otherwise
    assert later[0] > 128
    assert len([position for position in tried if position >= 2000]) < 20


def test_one_thread_is_left_alone() -> None:
    adapter = ThreadAdapter(1, 1)
    for seconds in (0.1, 9.0, 0.1, 50.0) * 50:
        adapter.record(seconds)
        assert adapter.threads == adapter.settled == 1


def test_levels() -> None:
    assert thread_levels(1) == (1,)
    assert thread_levels(2) == (1, 2)
    assert thread_levels(8) == (1, 2, 3, 4, 6, 7, 8)
    assert thread_levels(32) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 31, 32)


def times() -> Iterator[st.SearchStrategy[float]]:
    yield st.floats(1e-6, 10)
    yield st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e300, 5e-324])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 64),
    st.integers(-1, 80),
    st.lists(st.one_of(*times()), max_size=400),
)
def test_it_never_leaves_its_bounds_and_repeats_itself(
    most: int, start: int, seconds: list[float]
) -> None:
    one, other = ThreadAdapter(start, most), ThreadAdapter(start, most)
    assert one.threads == max(1, min(start, most))
    for time in seconds:
        one.record(time)
        other.record(time)
        assert 1 <= one.threads <= most
        assert 1 <= one.settled <= most
        assert one.threads == other.threads
