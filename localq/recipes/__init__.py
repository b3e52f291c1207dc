"""Recipes: small TOML files that say which model to take and what to make of it."""

from localq.recipes.known import known_models
from localq.recipes.recipe import RECIPE_FILE, KnownModel, QuantizeRecipe, Recipe, Role, load_recipe

__all__ = [
    "RECIPE_FILE",
    "KnownModel",
    "QuantizeRecipe",
    "Recipe",
    "Role",
    "known_models",
    "load_recipe",
]
