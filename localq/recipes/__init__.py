"""Recipes: small TOML files that say which model to take and what to make of it."""

from localq.recipes.known import known_models, known_recipes
from localq.recipes.load import load_recipe
from localq.recipes.recipe import RECIPE_FILE, KnownModel, QuantizeRecipe, Recipe, Role

__all__ = [
    "RECIPE_FILE",
    "KnownModel",
    "QuantizeRecipe",
    "Recipe",
    "Role",
    "known_models",
    "known_recipes",
    "load_recipe",
]
