"""How a model's makers would have it sampled: `general.sampling.*` of its file.

llama.cpp's converter, and localq's, take the values from generation_config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from localq.engine.sampling import SamplingParams
from localq.errors import UsageError

__all__ = ["recommended_sampling", "sampling_for"]

_FIELDS: Mapping[str, str] = {
    "temp": "temperature",
    "penalty_repeat": "repeat_penalty",
    **{
        name: name
        for name in (
            *("top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold", "penalty_last_n"),
            *("mirostat", "mirostat_tau", "mirostat_eta"),
        )
    },
}
_WHOLE = {field.name for field in fields(SamplingParams) if field.type == "int"}


def recommended_sampling(metadata: Mapping[str, object]) -> dict[str, float]:
    """Values of SamplingParams by name, in its order; none that it would refuse."""
    found: dict[str, float] = {}
    for key, name in _FIELDS.items():
        value = metadata.get(f"general.sampling.{key}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        # A float32 has seven digits: 0.6 is written as 0.6000000238418579.
        value = int(value) if name in _WHOLE else float(f"{value:.7g}")
        try:
            SamplingParams(**{name: value})  # type: ignore[arg-type]
        except UsageError:
            continue
        found[name] = value
    return {
        field.name: found[field.name] for field in fields(SamplingParams) if field.name in found
    }


def sampling_for(metadata: Mapping[str, object], given: Mapping[str, Any]) -> SamplingParams:
    """What the user gives before what the model recommends, before our own defaults; None counts
    as not given. UsageError."""
    chosen = {name: value for name, value in given.items() if value is not None}
    return SamplingParams(**{**recommended_sampling(metadata), **chosen})
