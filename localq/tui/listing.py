"""Questions about the list of models. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localq.library.model import Model

__all__ = ["SORTS", "ListedModel", "base", "last_used", "listed", "made_of", "matching", "origin"]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A row of the table; `below` a checkpoint of the same base, in the row `last` below it."""

    model: Model
    below: bool = False
    last: bool = False


SORTS: Mapping[str, Callable[[Model], Any]] = {
    "name": lambda model: model.name.casefold(),
    "size": lambda model: -model.size_bytes,
    "parameters": lambda model: -model.parameters,
    "used": lambda model: -model.used_at,
    "type": lambda model: model.quant,
}


def base(model: Model) -> str:
    """The name without its type: what a checkpoint and the files made of it share."""
    return model.name.partition(":")[0]


def matching(models: Sequence[Model], wanted: str) -> list[Model]:
    """Those whose name, type, architecture, tags, aliases or note contain every word of `wanted`,
    in any case."""
    words = wanted.casefold().split()
    if not words:
        return list(models)

    def matches(model: Model) -> bool:
        labels = " ".join((*model.tags, *model.aliases, model.note))
        text = f"{model.name} {model.quant} {model.architecture} {labels}".casefold()
        return all(word in text for word in words)

    return [model for model in models if matches(model)]


def listed(models: Sequence[Model], sort: str, *, grouped: bool) -> list[ListedModel]:
    """The rows in their order; `grouped`: what was made of a checkpoint stands below it, and the
    groups are sorted by what is first in each."""
    key = SORTS[sort]
    ordered = sorted(models, key=key)
    if not grouped:
        return [ListedModel(model) for model in ordered]
    originals = {base(model) for model in ordered if model.format.is_original}
    groups: dict[str, list[Model]] = {}
    for model in ordered:
        groups.setdefault(base(model) if base(model) in originals else model.name, []).append(model)
    rows: list[ListedModel] = []
    for group in groups.values():
        top = next((model for model in group if model.format.is_original), group[0])
        below = [model for model in group if model is not top]
        rows.append(ListedModel(top))
        rows += [ListedModel(model, True, model is below[-1]) for model in below]
    return rows


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
