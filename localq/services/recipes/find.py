"""Which recipe is meant, and whether it can be followed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.engine.settings import KV_TYPES
from localq.errors import BadFileError, LocalqError, NotFoundError, UsageError
from localq.hub.spec import parse_spec
from localq.messages import msg
from localq.planning.offload_plan import PlanOptions
from localq.recipes import RECIPE_FILE, Recipe, known_recipes, load_recipe
from localq.services.chat.presets import checked_preset
from localq.services.make.quantize_request import request_for_output
from localq.services.pull.source import DEMO, recipe_here
from localq.sessions.preset import Preset, preset_of

__all__ = [
    "ListedRecipe",
    "check_recipe",
    "find_recipe",
    "listed_recipes",
    "plan_of",
    "preset_in",
    "is_demo",
]


@dataclass(frozen=True, slots=True)
class ListedRecipe:
    """A recipe by its name; `own`: not one of localq's."""

    name: str
    path: Path
    repo: str
    title: str
    types: tuple[str, ...]
    license: str
    offered: bool
    own: bool


def listed_recipes() -> list[ListedRecipe]:
    """The recipe in the current folder first, then localq's own."""
    here = recipe_here()
    found = [_listed(load_recipe(here), own=True)] if here else []
    return [*found, *(_listed(recipe, own=False) for recipe in known_recipes())]


def find_recipe(text: str | None) -> Recipe:
    """The recipe in the file `text`, or localq's own of that name; None: the one in the current
    folder. NotFoundError, BadFileError."""
    if text is None:
        here = recipe_here()
        if here is None:
            raise NotFoundError(
                msg("there is no recipe ({file}) in this folder", file=RECIPE_FILE),
                hint=msg("name one (localq recipe list), or make one: localq recipe new"),
            )
        return load_recipe(here)
    path = Path(text).expanduser()
    if path.is_dir():
        return load_recipe(path / RECIPE_FILE)
    if path.suffix == ".toml" or path.exists():
        return load_recipe(path)
    for recipe in known_recipes():
        if recipe.name == text.casefold():
            return recipe
    raise NotFoundError(
        msg("there is no recipe {text!r}", text=text[:80]), hint=msg("localq recipe list")
    )


def check_recipe(recipe: Recipe) -> None:
    """Raise what can be known to go wrong without a network or a model: BadFileError."""
    try:
        if not is_demo(recipe.repo):
            spec = parse_spec(recipe.repo)
            if spec.is_gguf or spec.revision:
                raise UsageError(msg("a recipe starts from a checkpoint, named OWNER/NAME"))
        for output in recipe.outputs:
            request_for_output(recipe.repo, output)
        plan_of(recipe)
        preset_in(recipe)
    except LocalqError as error:
        if isinstance(error, BadFileError):
            raise
        raise BadFileError(recipe.path, error.message, hint=error.hint) from None
    for file in _files(recipe):
        if not file.is_file():
            raise BadFileError(recipe.path, msg("{file}: no such file", file=file))
    if not recipe.outputs and (recipe.checks or recipe.calibration or recipe.plan):
        raise BadFileError(
            recipe.path,
            msg("it makes nothing that could be checked or planned"),
            hint=msg("add a [quantize] with a type"),
        )


def plan_of(recipe: Recipe) -> PlanOptions | None:
    """The options that its files are to be loaded with; BadFileError where they make no sense."""
    plan = recipe.plan
    if plan is None:
        return None
    for key, type_ in (("type_k", plan.type_k), ("type_v", plan.type_v)):
        if type_ is not None and type_ not in KV_TYPES:
            raise BadFileError(
                recipe.path,
                msg("plan.{key}: {type!r} is no type of the cache", key=key, type=type_[:80]),
                hint=msg("known here: {known}", known=", ".join(KV_TYPES)),
            )
    return PlanOptions(
        n_ctx=plan.n_ctx, n_gpu_layers=plan.n_gpu_layers, type_k=plan.type_k, type_v=plan.type_v
    )


def preset_in(recipe: Recipe) -> Preset | None:
    """The preset that it brings, under its own name; UsageError where that makes no sense."""
    if recipe.preset is None:
        return None
    return checked_preset(preset_of(recipe.name, recipe.preset.content))


def is_demo(repo: str) -> bool:
    """Whether the model is the one that localq carries, which has no revisions."""
    return repo.casefold() in ("demo", DEMO.casefold())


def _files(recipe: Recipe) -> list[Path]:
    texts = [part.text for part in (recipe.calibration, recipe.checks) if part and part.text]
    return [*texts, *(output.imatrix for output in recipe.outputs if output.imatrix)]


def _listed(recipe: Recipe, *, own: bool) -> ListedRecipe:
    about = recipe.about
    return ListedRecipe(
        name=recipe.name,
        path=recipe.path,
        repo=recipe.repo,
        title=about.title if about else recipe.repo.rpartition("/")[2],
        types=tuple(output.type.name for output in recipe.outputs),
        license=about.license if about else "",
        offered=bool(about and about.offered),
        own=own,
    )
