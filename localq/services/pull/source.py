"""What a pull is to bring, and where from: the Hub, what is here already, or the demo."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from localq.errors import BadFileError, OfflineError, UsageError
from localq.events import Emit, Note
from localq.hub.folder import FolderSource
from localq.hub.source import Source
from localq.hub.spec import ModelSpec, parse_spec
from localq.library import Library, Model
from localq.messages import msg
from localq.recipes import RECIPE_FILE, known_models, load_recipe
from localq.services.pull.choices import Choice, models_that_fit
from localq.services.pull.plan import size_of

__all__ = ["DEMO", "Choice", "FoundSource", "choices", "find_source", "recipe_here"]

DEMO = "demo/stories260K"
"""The name of the model that localq carries."""

_DEMO_FOLDER = Path(__file__).parents[2] / "demo" / "stories260K"


@dataclass(frozen=True, slots=True)
class FoundSource:
    """The source that was meant, or the model itself where there is nothing to ask, or no one."""

    spec: ModelSpec
    source: Source | Model


def find_source(
    library: Library,
    text: str | None,
    emit: Emit,
    cancel: threading.Event,
    *,
    as_it_is: bool = True,
) -> FoundSource:
    """What `text` means; None: what the recipe in the current folder says, else the model
    recommended for this machine, else (offline) the demo.

    Without `as_it_is` a model that is here does not answer for its repository: other files of
    it may be wanted.
    """
    if text is not None and text.strip().casefold() in ("demo", DEMO.casefold()):
        return _demo()
    if text is not None:
        return _resolve(library, parse_spec(text), emit, cancel, as_it_is)
    if recipe := recipe_here():
        spec = _recipe_spec(recipe)
        emit(Note(msg("{recipe} asks for {repo}", recipe=recipe, repo=spec.repo)))
        return _resolve(library, spec, emit, cancel, as_it_is)
    return _recommended(library, emit, cancel, as_it_is)


def choices(library: Library) -> list[Choice]:
    """The known models that fit this machine's memory, the recommended one first."""
    from localq.hardware import memory

    found = memory()
    return models_that_fit(
        known_models(),
        total_memory=found.total if found else None,
        available_memory=found.available if found else None,
    )


def recipe_here() -> Path | None:
    """The recipe in the current folder, which a pull without a name follows."""
    recipe = Path.cwd() / RECIPE_FILE
    return recipe if recipe.is_file() else None


def _recommended(
    library: Library, emit: Emit, cancel: threading.Event, as_it_is: bool
) -> FoundSource:
    fitting = choices(library)
    if not fitting:
        emit(Note(msg("no known model fits this machine; taking the demo instead"), warning=True))
        return _demo()
    choice = fitting[0]
    try:
        found = _resolve(library, parse_spec(choice.repo), emit, cancel, as_it_is)
    except OfflineError as error:
        emit(Note(msg("{message}; taking the demo instead", message=error.message), warning=True))
        return _demo()
    emit(Note(msg("taking {repo}: {why}", repo=choice.repo, why=choice.why)))
    return found


def _demo() -> FoundSource:
    source = FolderSource.of(_DEMO_FOLDER, repo=DEMO, revision="embedded")
    return FoundSource(ModelSpec(DEMO), source)


def _recipe_spec(path: Path) -> ModelSpec:
    recipe = load_recipe(path)
    revision = f"@{recipe.revision}" if recipe.revision else ""
    try:
        spec = parse_spec(recipe.repo + revision)
    except UsageError as error:
        raise BadFileError(
            path, msg("model: {message}", message=error.message), hint=error.hint
        ) from None
    if spec.is_gguf:
        raise BadFileError(path, msg("model.repo: a recipe starts from a checkpoint, not a GGUF"))
    return spec


def _resolve(
    library: Library, spec: ModelSpec, emit: Emit, cancel: threading.Event, as_it_is: bool
) -> FoundSource:
    """Ask the Hub, where that can tell more than the library.

    A whole commit can never mean something else; and offline, what is here is good enough unless
    another revision was asked for.
    """
    held = _held(library, spec) if as_it_is else None
    if held is not None and spec.revision and held.source.revision == spec.revision:
        return FoundSource(spec, held)
    from localq.hub.repository import HubSource

    try:
        source = HubSource.resolve(spec, emit=emit, cancel=cancel)
    except OfflineError as error:
        if held is None or spec.revision:
            raise
        emit(
            Note(
                msg(
                    "{message}; {name} is here, perhaps not its latest",
                    message=error.message,
                    name=held.name,
                ),
                warning=True,
            )
        )
        return FoundSource(spec, held)
    if source.repo.casefold() != spec.repo.casefold():
        emit(Note(msg("{repo} is now called {repo2}", repo=spec.repo, repo2=source.repo)))
    return FoundSource(spec, source)


def _held(library: Library, spec: ModelSpec) -> Model | None:
    """The model of that name with all its files; the name of a file may stand for another."""
    wanted = spec.name.casefold()
    for model in library.models():
        if model.name.casefold() == wanted and spec.file is None and _is_whole(library, model):
            return model
    return None


def _is_whole(library: Library, model: Model) -> bool:
    """Whether a model's files are there, as far as their sizes tell."""
    sizes = library.sizes(model)
    return bool(sizes) and all(size_of(path) == size for path, size in sizes.items())
