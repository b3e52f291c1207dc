"""A few rounds of `python -m tests.crash`, which takes as many as one has time for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash import SCENARIOS, Lab, opened_lab

_SEED = "localq"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with opened_lab() as opened:
        yield opened


def test_a_kill_harms_no_download(lab: Lab) -> None:
    scenario = SCENARIOS["pull-as"]
    usual = lab.usual(scenario, runs=1)
    assert set(usual.after) == {"org/big:Q4_0"}
    assert lab.round(scenario, usual, _SEED)


# These end with the models that they began with.
_SAME_MODELS = {"rm-pull", "restore-rm", "trash-empty"}


@pytest.mark.slow
@pytest.mark.parametrize("verb", SCENARIOS)
def test_a_kill_harms_nothing(lab: Lab, verb: str) -> None:
    usual = lab.usual(SCENARIOS[verb])
    assert verb in _SAME_MODELS or usual.before != usual.after
    assert usual.steps > 10
    for number in range(6):
        lab.round(SCENARIOS[verb], usual, f"{_SEED}.{number}")
