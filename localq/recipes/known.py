"""The recipes that localq carries: models known to run well on a machine at home."""

from __future__ import annotations

from pathlib import Path

from localq.errors import BadFileError, NotFoundError
from localq.messages import msg
from localq.recipes.load import load_recipe
from localq.recipes.recipe import KnownModel, Recipe

__all__ = ["known_models", "known_recipes"]

_INSTALLED = Path(__file__).parent / "data"
_SOURCE_TREE = Path(__file__).parents[2] / "recipes"


def known_recipes() -> list[Recipe]:
    """localq's own recipes, by name. BadFileError for one that does not describe its model."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _SOURCE_TREE
    recipes = [load_recipe(path) for path in sorted(folder.glob("*.toml"))]
    for recipe in recipes:
        if recipe.about is None:
            raise BadFileError(
                recipe.path, msg("model.title and what else describes the model is missing")
            )
    if not recipes:
        raise NotFoundError(
            msg("{folder}: no recipes in it", folder=folder), hint=msg("reinstall localq")
        )
    return recipes


def known_models() -> list[KnownModel]:
    """The models of localq's own recipes, by the memory that they are meant for."""
    models = [recipe.about for recipe in known_recipes() if recipe.about]
    return sorted(models, key=lambda model: (model.memory_gb, model.repo))
