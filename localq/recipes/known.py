"""The recipes that localq carries: models known to run well on a machine at home."""

from __future__ import annotations

from pathlib import Path

from localq.errors import BadFileError, NotFoundError
from localq.messages import msg
from localq.recipes.recipe import KnownModel, load_recipe

__all__ = ["known_models"]

_INSTALLED = Path(__file__).parent / "data"
_SOURCE_TREE = Path(__file__).parents[2] / "recipes"


def known_models() -> list[KnownModel]:
    """The models of localq's own recipes, by the memory that they are meant for."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _SOURCE_TREE
    models: list[KnownModel] = []
    for path in sorted(folder.glob("*.toml")):
        about = load_recipe(path).about
        if about is None:
            raise BadFileError(
                path, msg("model.title and what else describes the model is missing")
            )
        models.append(about)
    if not models:
        raise NotFoundError(
            msg("{folder}: no recipes in it", folder=folder), hint=msg("reinstall localq")
        )
    return sorted(models, key=lambda model: (model.memory_gb, model.repo))
