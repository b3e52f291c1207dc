"""Recipe files, and the recipes that localq carries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localq.convert.families import ARCHITECTURES
from localq.errors import BadFileError, NotFoundError
from localq.formats.types import QuantType
from localq.hub import parse_spec
from localq.recipes import Role, known_models, known_recipes, load_recipe
from localq.recipes.load import TABLES
from localq.recipes.recipe import QuantizeRecipe, Recipe
from localq.recipes.schema import recipe_schema
from localq.services.recipes.find import check_recipe

_ABOUT = """[model]
repo = "a/b"
title = "T"
architecture = "A"
license = "mit"
context = 2048
languages = ["en"]
memory_gb = 8
role = "coding"
reason = "it is good"
"""


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "localq.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_a_recipe_needs_only_a_repository(tmp_path: Path) -> None:
    recipe = load(tmp_path, '[model]\nrepo = "org/name"\n')
    assert (recipe.repo, recipe.revision, recipe.outputs) == ("org/name", None, ())
    assert recipe.about is None


def test_a_recipe_says_revision_and_type(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, '[model]\nrepo = "org/name"\nrevision = "v1"\n[quantize]\ntype = "q4_k_m"\n'
    )
    assert (recipe.revision, recipe.outputs) == ("v1", (QuantizeRecipe(QuantType.Q4_K_M),))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "model is missing"),
        ("model = 7", "model must be a table"),
        ("[model]", "model.repo is missing"),
        ("[model]\nrepo = 7", "model.repo must be a text"),
        ('[model]\nrepo = " "', "model.repo holds no text"),
        ('[model]\nrepo = "a\\u001bb"', "model.repo holds no text"),
        ('[model]\nrepo = "a/b"\nrevison = "x"', "model.revison is not a key"),
        ('[model]\nrepo = "a/b"\n[other]', "other is not a key"),
        ('[model]\nrepo = "a/b"\n[quantize]\ntype = "q9"', "quantize.type: unknown quantization"),
        ('[model]\nrepo = "a/b"\n[quantize]\nbits = 4', "quantize.bits is not a key"),
        ('[model]\nrepo = "a/b"\n[quantize]\npure = true', "quantize.type is missing"),
        (
            '[model]\nrepo = "a/b"\n[quantize]\ntype = "q4_0"\npure = 1',
            "quantize.pure must be true or false",
        ),
        (
            '[model]\nrepo = "a/b"\n[quantize]\ntype = "q4_0"\ntensor_types = {x = "q77"}',
            "quantize.tensor_types.x: unknown tensor type",
        ),
        ('[model]\nrepo = "a/b"\ntitle = "T"', "model.architecture is missing"),
        (_ABOUT.replace("= 8", "= -1"), "must be a number above 0"),
        (_ABOUT.replace("= 8", "= true"), "must be a number above 0"),
        (_ABOUT.replace("coding", "poems"), "model.role is 'poems'"),
        ("[model\nrepo", "not a recipe"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadFileError) as caught:
        load(tmp_path, text)
    assert caught.value.message.startswith(str(tmp_path / "localq.toml"))
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_no_recipe_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "long.toml").write_bytes(b"#" * (2 << 20))
    for name in ("bytes.toml", "long.toml", "."):
        with pytest.raises(BadFileError):
            load_recipe(tmp_path / name)


def test_the_recipes_that_localq_carries() -> None:
    models = known_models()
    assert len({model.repo for model in models}) == len(models)
    for model in models:
        assert parse_spec(model.repo).repo == model.repo
        assert all(len(language) == 2 for language in model.languages)
        assert ("zh" in model.languages) or model.role is not Role.CHINESE


def test_each_class_of_machines_is_offered_one_of_each_kind_and_all_are_native() -> None:
    offered = [model for model in known_models() if model.offered]
    kinds = {(model.memory_gb, model.role) for model in offered}
    assert kinds == {(gb, role) for gb in (8, 16, 32) for role in Role}
    assert len(offered) == len(kinds)
    assert {model.architecture for model in offered} <= ARCHITECTURES.keys()


def test_the_schema_knows_every_key_and_fits_every_recipe() -> None:
    schema = recipe_schema()
    tables = schema["properties"]
    assert tables.keys() == TABLES.keys()
    for name, keys in TABLES.items():
        table = tables[name]["oneOf"][0] if name == "quantize" else tables[name]
        assert tuple(table["properties"]) == keys
    kept = Path(__file__).parents[2] / "recipes" / "recipe.schema.json"
    assert json.loads(kept.read_text(encoding="utf-8")) == schema, (
        "localq recipe schema > recipes/recipe.schema.json"
    )


def test_localqs_own_recipes_can_be_followed() -> None:
    recipes = known_recipes()
    assert len(recipes) >= 12
    for recipe in recipes:
        check_recipe(recipe)
        assert recipe.name == recipe.path.stem
