"""Measure what a recipe made, and hold it against the recipe's [checks]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localq.errors import LibraryError
from localq.events import Note
from localq.library import Model
from localq.messages import Message, msg
from localq.quality.results import EvaluatedModel
from localq.recipes import Recipe
from localq.recipes.lock import Measured
from localq.recipes.recipe import Checks
from localq.services.quality.evaluate import EvaluateRequest, evaluate
from localq.services.recipes.reading import Workroom

__all__ = ["check_outputs"]


def check_outputs(room: Workroom, recipe: Recipe, made: Sequence[Model]) -> dict[str, Measured]:
    """What the checks found, by the model's name; LibraryError where one does not hold."""
    checks = recipe.checks
    if checks is None:
        return {one.name: Measured() for one in made}
    against = None if checks.against is None else room.gguf(checks.against)
    names = tuple(one.name for one in made if one.name != against)
    if not names:  # the base alone was made
        names, against = (made[0].name,), None
    request = EvaluateRequest(names, checks.text, against, checks.n_ctx, checks.chunks)
    found = {
        one.model: one for one in evaluate(room.library, request, room.emit, room.cancel).models
    }
    failed = []
    for one in made:
        for text, holds in _rows(checks, found[one.name]):
            told = msg("{name}: {text}", name=one.name, text=text)
            room.emit(Note(told, warning=not holds))
            if not holds:
                failed.append(told)
    if failed:
        raise LibraryError(
            msg(
                "{recipe}: does not hold its checks: {failed}", recipe=recipe.name, failed=failed[0]
            ),
            hint=msg("the files stay; take a larger type, or change [checks]"),
        )
    return {one.name: _measured(found[one.name]) for one in made}


def _rows(checks: Checks, found: EvaluatedModel) -> Iterator[tuple[Message, bool]]:
    """What was measured beside its limit, and whether that holds; NaN never does."""
    value = found.perplexity.value
    if checks.max_perplexity is not None:
        limit = checks.max_perplexity
        text = msg("perplexity {value:.4g}, at most {limit:g}", value=value, limit=limit)
        yield text, value <= limit
    one = found.divergence
    if one is not None and checks.max_kld is not None:
        value, limit = one.kld.value, checks.max_kld
        text = msg("KL divergence {value:.4g}, at most {limit:g}", value=value, limit=limit)
        yield text, value <= limit
    if one is not None and checks.min_agreement is not None:
        value, limit = one.same_top.value, checks.min_agreement
        text = msg("same top token {value:.4g}, at least {limit:g}", value=value, limit=limit)
        yield text, value >= limit


def _measured(found: EvaluatedModel) -> Measured:
    one = found.divergence
    return Measured(
        found.perplexity.value,
        one.kld.value if one else None,
        one.same_top.value if one else None,
    )
