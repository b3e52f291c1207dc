"""Questions about the list of models. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localq.library.model import Model

__all__ = ["base", "last_used", "made_of", "matching", "origin"]


def base(model: Model) -> str:
    """The name without its type: what a checkpoint and the files made of it share."""
    return model.name.partition(":")[0]


def matching(models: Sequence[Model], wanted: str) -> list[Model]:
    """Those whose name, type or architecture contain every word of `wanted`, in any case."""
    words = wanted.casefold().split()

    def matches(model: Model) -> bool:
        text = f"{model.name} {model.quant} {model.architecture}".casefold()
        return all(word in text for word in words)

    return [model for model in models if matches(model)]


def made_of(models: Iterable[Model], model: Model) -> list[Model]:
    """The files to run that share `model`'s base name."""
    return [m for m in models if m.format.is_runnable and base(m) == base(model)]


def origin(models: Iterable[Model], model: Model) -> Model:
    """The checkpoint that `model` was made from; itself where that is not listed."""
    for other in models:
        if other.format.is_original and base(other) == base(model):
            return other
    return model


def last_used(models: Sequence[Model]) -> Model | None:
    return max(models, key=lambda model: model.used_at, default=None)
