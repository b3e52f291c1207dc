"""Which of the known models a machine can run, and which one to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localq.display import byte_size
from localq.messages import msg
from localq.planning.comfort import fits_comfortably, memory_of
from localq.recipes import KnownModel

__all__ = ["Choice", "models_that_fit"]

_SHORT_DOWNLOAD = 8_000_000_000
"""Bytes of download that nobody minds who did not ask for a certain model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model for this machine; `why` is one phrase to show beside it."""

    repo: str
    parameters: int
    download_bytes: int
    why: str
    recommended: bool


def models_that_fit(
    models: Iterable[KnownModel],
    *,
    total_memory: int | None,
    available_memory: int | None,
    free_disk: int,
) -> list[Choice]:
    """The models that fit into these bytes: the recommended one, then the others by size.

    Recommended is the largest that fits comfortably and downloads soon, else the smallest. Where
    the memory is not known (None) nothing is ruled out for it, and the smallest is recommended.
    """
    fitting = [
        model
        for model in sorted(models, key=lambda model: model.parameters, reverse=True)
        if model.download_bytes <= free_disk
        and (available_memory is None or memory_of(model.parameters) < available_memory)
    ]
    if not fitting:
        return []
    comfortable = [
        model
        for model in fitting
        if total_memory
        and fits_comfortably(memory_of(model.parameters), total_memory)
        and model.download_bytes <= _SHORT_DOWNLOAD
    ]
    best = comfortable[0] if comfortable else fitting[-1]
    ordered = [best, *(model for model in fitting if model is not best)]
    return [_choice(model, best, comfortable, total_memory) for model in ordered]


def _choice(
    model: KnownModel, best: KnownModel, comfortable: list[KnownModel], total_memory: int | None
) -> Choice:
    if total_memory is None:
        why = msg("the smallest; this machine's memory is not known") if model is best else ""
    elif model is best:
        why = (
            msg(
                "runs comfortably in {total_memory} of memory", total_memory=byte_size(total_memory)
            )
            if comfortable
            else msg(
                "the smallest, for {total_memory} of memory", total_memory=byte_size(total_memory)
            )
        )
    else:
        needed = memory_of(model.parameters)
        why = msg("needs about {needed} of memory", needed=byte_size(needed))
        if model.parameters > best.parameters:
            # Larger than the recommended one, and offered all the same: what speaks against it.
            comfort = fits_comfortably(needed, total_memory)
            why += ", a long download" if comfort else ", and leaves less to other programs"
    return Choice(model.repo, model.parameters, model.download_bytes, why, model is best)
