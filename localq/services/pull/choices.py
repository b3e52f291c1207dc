"""Which of the known models a machine is offered, and which one to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localq.messages import msg
from localq.recipes import KnownModel, Role

__all__ = ["Choice", "models_that_fit"]

_GB = 1_000_000_000
_NOMINAL = 0.9
"""Of what a machine is sold with, a program sees this much at least."""
_FREE = 0.25
"""The share of the memory that a model is meant for that must be free."""
_ORDER = (Role.GENERAL, Role.CHINESE, Role.CODING, Role.SMALL)


@dataclass(frozen=True, slots=True)
class Choice:
    """A model for this machine; `why` is one phrase to show beside it. Its sizes are those that
    its files' headers say, None where nobody has asked."""

    repo: str
    parameters: int | None
    download_bytes: int | None
    why: str
    recommended: bool


def models_that_fit(
    models: Iterable[KnownModel], *, total_memory: int | None, available_memory: int | None
) -> list[Choice]:
    """The models that are offered on a machine with these bytes: the recommended one, then those
    for the most memory first.

    Recommended is the general model for the least memory, which is soon there, or the small one
    where the memory is less, or not known (None).
    """
    offered = [model for model in models if model.offered]
    if not offered:
        return []
    least = min(model.memory_gb for model in offered)
    fitting = [
        model
        for model in offered
        if total_memory is None
        or _fits(model, total_memory, available_memory)
        or (model.memory_gb, model.role) == (least, Role.SMALL)
    ]
    wanted = Role.SMALL if total_memory is None else Role.GENERAL
    fitting.sort(key=lambda model: (-model.memory_gb, _ORDER.index(model.role)))
    best = next(
        (model for model in fitting if (model.memory_gb, model.role) == (least, wanted)),
        fitting[-1],
    )
    ordered = [best, *(model for model in fitting if model is not best)]
    return [Choice(model.repo, None, None, _why(model), model is best) for model in ordered]


def _fits(model: KnownModel, total: int, available: int | None) -> bool:
    meant = model.memory_gb * _GB
    return total >= _NOMINAL * meant and (available is None or available >= _FREE * meant)


def _why(model: KnownModel) -> str:
    gb = model.memory_gb
    match model.role:
        case Role.GENERAL:
            return msg("for everything, with {gb} GB of memory", gb=gb)
        case Role.CHINESE:
            return msg("strong in Chinese, with {gb} GB of memory", gb=gb)
        case Role.CODING:
            return msg("writes code, with {gb} GB of memory", gb=gb)
        case Role.SMALL:
            return msg("small and quick, with {gb} GB of memory", gb=gb)
