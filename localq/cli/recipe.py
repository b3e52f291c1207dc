"""`localq recipe` and its own verbs"""

from __future__ import annotations

from pathlib import Path

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.errors import LocalqError
from localq.library import Library
from localq.messages import msg
from localq.recipes import RECIPE_FILE
from localq.recipes.lock import lock_path

__all__ = ["command"]

_recipe = click.argument("recipe", required=False, metavar="[RECIPE]")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Follow small TOML files that say which model to take and what to make of it.

    RECIPE is a file, or the name of one of localq's own; without it, the localq.toml in this
    folder.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@command.command(name="list", short_help="List the recipes.")
@json_option
def list_command(as_json: bool) -> None:
    """List localq's own recipes, and the one in this folder."""
    _list(as_json)


@command.command(short_help="Show a recipe.")
@_recipe
@json_option
def show(recipe: str | None, as_json: bool) -> None:
    """Show the file of a recipe."""
    from localq.services.recipes.find import find_recipe

    found = find_recipe(recipe)
    if as_json:
        output.json_document(found)
        return
    output.dim(str(found.path))
    output.document(found.path.read_text(encoding="utf-8").rstrip("\n"))


@command.command(short_help="Say whether recipes make sense.")
@click.argument("recipes", nargs=-1, metavar="[RECIPE...]")
@json_option
def check(recipes: tuple[str, ...], as_json: bool) -> None:
    """Say whether recipes make sense, without a network or a model."""
    from localq.services.recipes.find import check_recipe, find_recipe

    documents = []
    failures: list[LocalqError] = []
    for name in recipes or (None,):
        try:
            found = find_recipe(name)
            check_recipe(found)
        except LocalqError as error:
            failures.append(error)
            documents.append({"recipe": name, "problem": error.message})
        else:
            documents.append({"recipe": str(found.path), "problem": None})
            if not as_json:
                output.line(msg("{path}: can be followed", path=found.path))
    if as_json:
        output.json_document(documents)
    for failure in failures[:-1]:
        output.error(failure)
    if failures:
        raise failures[-1]


@command.command(short_help="Write a recipe to begin with.")
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="What to make; may be repeated."
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    default=Path(RECIPE_FILE),
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@json_option
def new(
    model: str | None, types: tuple[str, ...], target: Path, force: bool, as_json: bool
) -> None:
    """Write a recipe for MODEL (OWNER/NAME); without it, the checkpoint used last."""
    from localq.formats.types import QuantType
    from localq.services.recipes.new import new_recipe

    wanted = [QuantType.parse(type_) for type_ in types or ("q4_k_m",)]
    with Library() as library:
        path = new_recipe(library, model, wanted, target, force=force)
    if as_json:
        output.json_document({"path": str(path)})
    else:
        output.path(path)


@command.command(short_help="Pin what a recipe starts from.")
@_recipe
@json_option
def lock(recipe: str | None, as_json: bool) -> None:
    """Write down the commit and the files that a recipe starts from, without fetching them."""
    from localq.services.recipes.find import find_recipe
    from localq.services.recipes.lock import lock_recipe

    found = find_recipe(recipe)
    path = lock_path(found, Path.cwd())
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        locked = lock_recipe(library, found.path, path, emit, cancel)
    if as_json:
        output.json_document(locked)
    else:
        output.path(path)


@command.command(short_help="Do what a recipe says.")
@_recipe
@click.option("--locked", is_flag=True, help="Make the very bytes of the lock file again, or fail.")
@click.option("--force", is_flag=True, help="Replace files and presets that are others.")
@click.option("--detach", is_flag=True, help="Work in the background; see localq jobs.")
@json_option
def run(recipe: str | None, locked: bool, force: bool, detach: bool, as_json: bool) -> None:
    """Pull, calibrate, quantize, measure and check, as RECIPE says.

    What came out is kept in a lock file, NAME.lock.json: beside a recipe of your own, in this
    folder for one of localq's. Stopped or killed, the same command goes on where it was.
    """
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.recipe import RecipeKind
    from localq.services.recipes.find import find_recipe
    from localq.services.recipes.run import RecipeRequest

    found = find_recipe(recipe)
    request = RecipeRequest(
        found.path.absolute(), lock_path(found, Path.cwd()).absolute(), locked, force
    )
    if detach:
        from localq.cli.jobs import report_detached
        from localq.services.jobs.detach import start_detached

        with Library() as library:
            job = start_detached(library, request)
        report_detached(job, as_json=as_json)
        return
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = recorded(RecipeKind(), library, request, emit, cancel)
    if as_json:
        output.json_document(result)
        return
    for made in result.outputs:
        output.narrate(msg("{model}: {size}", model=made.model, size=byte_size(made.size_bytes)))
    if result.preset:
        output.narrate(msg("preset {name}: localq chat --preset {name}", name=result.preset))
    if result.verified:
        output.narrate(msg("the same bytes as {lock} says", lock=result.lock.name))
    for made in result.outputs:
        output.line(made.model)
    if not result.outputs:
        output.line(result.repo)


@command.command(short_help="Print the JSON schema of recipes.")
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from localq.recipes.schema import recipe_schema

    output.json_document(recipe_schema())


def _list(as_json: bool) -> None:
    from localq.services.recipes.find import listed_recipes

    recipes = listed_recipes()
    if as_json:
        output.json_document(recipes)
        return
    output.table(
        (msg("NAME"), msg("MODEL"), msg("MAKES"), msg("LICENCE")),
        (
            (
                recipe.name + (" *" if recipe.own else ""),
                recipe.repo,
                " ".join(recipe.types) or "-",
                recipe.license or "-",
            )
            for recipe in recipes
        ),
    )
