"""What a model's file says about sampling."""

from __future__ import annotations

import math

import pytest

from localq.engine.sampling import SamplingParams
from localq.engine.sampling_defaults import recommended_sampling, sampling_for
from localq.errors import UsageError

QWEN = {
    "general.sampling.top_k": 20,
    "general.sampling.top_p": 0.949999988079071,
    "general.sampling.temp": 0.6000000238418579,
    "general.sampling.penalty_repeat": 1.0499999523162842,
}


def test_the_models_values_come_before_ours_and_the_users_before_both() -> None:
    recommended = recommended_sampling(QWEN)
    assert recommended == {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1.05}
    assert list(recommended) == ["temperature", "top_k", "top_p", "repeat_penalty"]
    sampling = sampling_for(QWEN, {"temperature": 0.0, "seed": None})
    assert sampling == SamplingParams(temperature=0.0, top_k=20, top_p=0.95, repeat_penalty=1.05)
    assert sampling_for({}, {}) == SamplingParams()
    with pytest.raises(UsageError, match="top_p is 3"):
        sampling_for(QWEN, {"top_p": 3})


@pytest.mark.parametrize("value", ["hot", True, None, -1.0, math.nan, math.inf, [0.5], 1e300])
def test_values_that_make_no_sense_are_not_followed(value: object) -> None:
    assert recommended_sampling({"general.sampling.temp": value}) == {}
