"""Pin a recipe: the commit and the files that it starts from, before anything is fetched."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.engine.devices import engine_version
from localq.events import Emit
from localq.hub.source import DigestKind
from localq.library import Library, Model
from localq.recipes import load_recipe
from localq.recipes.lock import Lock, LockedFile, write_lock
from localq.services.pull.pull import PullRequest, prepare
from localq.services.recipes.find import check_recipe, is_demo
from localq.services.recipes.locked import checkpoint_files, inputs_sha256
from localq.version import __version__

__all__ = ["lock_recipe"]


def lock_recipe(
    library: Library, recipe_path: Path, lock: Path, emit: Emit, cancel: threading.Event
) -> Lock:
    """Write the lock's first part; `run --locked` adds what it makes. BadFileError, HubError."""
    recipe = load_recipe(recipe_path)
    check_recipe(recipe)
    plain = recipe.revision is None or is_demo(recipe.repo)
    spec = recipe.repo if plain else f"{recipe.repo}@{recipe.revision}"
    prepared = prepare(library, PullRequest(spec), emit, cancel)
    if isinstance(prepared, Model):
        origin, files = prepared.source, checkpoint_files(library, prepared)
    else:
        _, plan = prepared
        origin = plan.origin
        files = tuple(
            LockedFile(
                path.relative_to(plan.root).as_posix(),
                file.size,
                file.digest.hex if file.digest.kind is DigestKind.SHA256 else None,
            )
            for path, file in sorted(plan.files.items())
        )
    found = Lock(
        version=1,
        recipe=recipe.path.name,
        inputs_sha256=inputs_sha256(recipe),
        repo=recipe.repo,
        revision=origin.revision,
        localq=__version__,
        engine=engine_version() or "",
        files=files,
    )
    write_lock(lock, found)
    return found
