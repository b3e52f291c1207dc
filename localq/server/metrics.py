"""Counts since the server began, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Metrics", "exposition"]

_NAMES = {
    "prompt_tokens_total": "Prompt tokens, those that were still in memory too.",
    "prompt_tokens_read_total": "Prompt tokens that were read.",
    "prompt_seconds_total": "Seconds until prompts were read.",
    "tokens_predicted_total": "Tokens that were generated.",
    "tokens_predicted_seconds_total": "Seconds that took.",
    "requests_total": "Texts that were generated.",
}


@dataclass(slots=True)
class Metrics:
    """For the event loop's thread alone."""

    prompt_tokens_total: int = 0
    prompt_tokens_read_total: int = 0
    prompt_seconds_total: float = 0.0
    tokens_predicted_total: int = 0
    tokens_predicted_seconds_total: float = 0.0
    requests_total: int = 0


def exposition(metrics: Metrics, gauges: Mapping[str, tuple[str, float]]) -> str:
    """The text that Prometheus scrapes; `gauges`: name to what it says and its value."""
    lines: list[str] = []
    for name, about in _NAMES.items():
        value = getattr(metrics, name)
        lines += [f"# HELP localq:{name} {about}", f"# TYPE localq:{name} counter"]
        lines.append(f"localq:{name} {value}")
    for name, (about, value) in gauges.items():
        lines += [f"# HELP localq:{name} {about}", f"# TYPE localq:{name} gauge"]
        lines.append(f"localq:{name} {value}")
    return "\n".join(lines) + "\n"
