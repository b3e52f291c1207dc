"""Follow a recipe: pull, calibrate, quantize, measure, check, and keep what came out in a lock."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localq.database import Database
from localq.engine.devices import engine_version
from localq.errors import LibraryError, NotFoundError, storage_errors
from localq.events import Emit, Note
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.saved_settings import SavedPlanOptions, merged
from localq.recipes import QuantizeRecipe, Recipe, load_recipe
from localq.recipes.lock import Lock, LockedFile, LockedOutput, Measured, read_lock, write_lock
from localq.services.make.quantize import quantize
from localq.services.make.quantize_request import request_for_output
from localq.services.pull.pull import PullRequest, pull
from localq.services.recipes.checks import check_outputs
from localq.services.recipes.commands import commands
from localq.services.recipes.find import check_recipe, is_demo, plan_of, preset_in
from localq.services.recipes.locked import (
    checkpoint_files,
    inputs_sha256,
    refuse_other_files,
    refuse_other_recipe,
    unlike,
)
from localq.services.recipes.reading import Workroom, workroom
from localq.sessions.preset import Preset
from localq.sessions.preset_files import PresetFiles
from localq.version import __version__

__all__ = ["MadeOutput", "RecipeRequest", "RecipeResult", "run_recipe"]


@dataclass(frozen=True, slots=True)
class RecipeRequest:
    """`recipe` is its file, `lock` that of its lock. `locked`: make again what the lock says, or
    fail; `force` replaces files that are there already, made in another way."""

    recipe: Path
    lock: Path
    locked: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class MadeOutput:
    """A file of the library that the recipe made."""

    model: str
    path: Path
    size_bytes: int
    measured: Measured


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """`verified`: every output is, byte for byte, what the lock said. `preset` is the name of the
    one that was kept."""

    recipe: str
    repo: str
    revision: str | None
    outputs: tuple[MadeOutput, ...]
    lock: Path
    verified: bool
    preset: str | None


def run_recipe(
    library: Library, request: RecipeRequest, emit: Emit, cancel: threading.Event
) -> RecipeResult:
    """Do all that the recipe says; after Cancelled or a kill, the same request goes on.

    BadFileError for a recipe or lock that makes no sense; LibraryError where a check does not hold,
    or what was made is not what the lock says. Nothing is taken away in either case.
    """
    recipe = load_recipe(request.recipe)
    check_recipe(recipe)
    earlier = _earlier(recipe, request)
    preset = preset_in(recipe)
    if preset is not None:
        _refuse_to_replace(library, preset, force=request.force)
    source = _pulled(library, recipe, earlier if request.locked else None, emit, cancel)
    files = checkpoint_files(library, source)
    if request.locked and earlier is not None:
        refuse_other_files(request.lock, earlier, files)
    lock = Lock(
        version=1,
        recipe=recipe.path.name,
        inputs_sha256=inputs_sha256(recipe),
        repo=recipe.repo,
        revision=source.source.revision,
        localq=__version__,
        engine=engine_version() or "",
        files=files,
        commands=commands(recipe, source),
    )
    if earlier is not None and not (request.locked or _is_same_work(earlier, lock)):
        earlier = None
    key = hashlib.sha256(repr((lock.inputs_sha256, lock.revision, files)).encode()).hexdigest()
    with workroom(library, source, key[:32], emit, cancel) as room:
        lock, imatrix = _calibrated(room, recipe, request, lock, earlier)
        made = [_made(room, request, output, imatrix, earlier) for output in recipe.outputs]
        outputs = tuple(_locked_output(library, one) for one in made)
        if request.locked and earlier is not None:
            for one, output in zip(made, outputs, strict=True):
                unlike(request.lock, earlier, output, one.name)
        measured = check_outputs(room, recipe, made)
    outputs = tuple(
        replace(output, measured=measured[one.name])
        for one, output in zip(made, outputs, strict=True)
    )
    _keep_settings(library, recipe, made)
    if preset is not None:
        PresetFiles(library.paths).put(preset)
    if not request.locked or earlier is None or not earlier.outputs:
        write_lock(request.lock, replace(lock, outputs=outputs))
    return RecipeResult(
        recipe=recipe.name,
        repo=recipe.repo,
        revision=source.source.revision,
        outputs=tuple(
            MadeOutput(one.name, one.path, one.size_bytes, measured[one.name]) for one in made
        ),
        lock=request.lock,
        verified=request.locked and earlier is not None and bool(earlier.outputs),
        preset=preset.name if preset else None,
    )


def _earlier(recipe: Recipe, request: RecipeRequest) -> Lock | None:
    """The lock that is there; NotFoundError where one is needed."""
    try:
        earlier = read_lock(request.lock)
    except NotFoundError:
        if request.locked:
            raise
        return None
    if request.locked:
        refuse_other_recipe(request.lock, earlier, recipe)
    return earlier


def _refuse_to_replace(library: Library, preset: Preset, *, force: bool) -> None:
    files = PresetFiles(library.paths)
    if files.is_own(preset.name) and files.get(preset.name) != preset and not force:
        raise LibraryError(
            msg("there is a preset {name} already, and it is another", name=preset.name),
            hint=msg("replace it with --force, or give the recipe's file another name"),
        )


def _pulled(
    library: Library, recipe: Recipe, lock: Lock | None, emit: Emit, cancel: threading.Event
) -> Model:
    revision = lock.revision if lock else recipe.revision
    plain = revision is None or is_demo(recipe.repo)
    spec = recipe.repo if plain else f"{recipe.repo}@{revision}"
    return pull(library, PullRequest(spec), emit, cancel).model


def _calibrated(
    room: Workroom, recipe: Recipe, request: RecipeRequest, lock: Lock, earlier: Lock | None
) -> tuple[Lock, Path | None]:
    """The lock with the importance matrix, and where that is; a matrix of the same recipe and
    checkpoint that lies beside the lock is used again, for another reading of the same text gives
    other last digits."""
    if recipe.calibration is None or all(output.imatrix for output in recipe.outputs):
        return lock, None
    path = request.lock.with_name(request.lock.name.removesuffix(".lock.json") + ".imatrix.gguf")
    held = earlier.imatrix if earlier else None
    if held is None or not path.is_file() or _sha256(path) != held.sha256:
        if request.locked and held is not None:
            room.emit(
                Note(
                    msg("{path} is not the matrix of the lock: it is made anew", path=path),
                    warning=True,
                )
            )
        room.imatrix(recipe.calibration, path)
    return (
        replace(lock, imatrix=LockedFile(path.name, path.stat().st_size, _sha256(path))),
        path,
    )


def _made(
    room: Workroom,
    request: RecipeRequest,
    output: QuantizeRecipe,
    imatrix: Path | None,
    earlier: Lock | None,
) -> Model:
    """The file of one [quantize]: as the same work left it before, or made now."""
    library = room.library
    name = f"{room.source.name}:{output.type.name}"
    done = room.folder / f"{output.type.name}.made"
    held = library.get(name)
    locked = earlier.output(output.type.name) if earlier else None
    if held is not None and held.source == room.source.source and held.path.is_file():
        hashes = _hashes(library, held)
        if (locked and locked.sha256 == hashes) or _read(done) == hashes:
            return held
    wanted = request_for_output(room.source.name, output)
    weighed = output.imatrix or imatrix
    wanted = replace(
        wanted,
        imatrix=weighed,
        imatrix_name=weighed.name if weighed else None,
        force=request.force,
    )
    quantize(library, wanted, room.emit, room.cancel)
    made = library.find(name)
    with storage_errors(done):
        done.write_text(" ".join(_hashes(library, made)))
    return made


def _read(done: Path) -> tuple[str, ...] | None:
    try:
        return tuple(done.read_text().split())
    except (OSError, ValueError):
        return None


def _is_same_work(one: Lock, other: Lock) -> bool:
    """Whether both would make the same bytes, but for other versions of what makes them."""
    return (one.inputs_sha256, one.revision, one.files) == (
        other.inputs_sha256,
        other.revision,
        other.files,
    )


def _hashes(library: Library, model: Model) -> tuple[str, ...]:
    known = library.hashes.of_model(model.name)
    return tuple(known[place].sha256 for place in sorted(known))


def _locked_output(library: Library, model: Model) -> LockedOutput:
    return LockedOutput(model.quant, _hashes(library, model), model.size_bytes)


def _keep_settings(library: Library, recipe: Recipe, made: Sequence[Model]) -> None:
    """Keep the plan's options for each file; what the user saved before goes first."""
    options = plan_of(recipe)
    if options is None:
        return
    saved = SavedPlanOptions(Database(library.paths.database))
    for one in made:
        saved.save(one.name, merged(saved.of(one.name), options))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
