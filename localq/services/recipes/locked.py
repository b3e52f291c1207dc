"""Whether what is there, and what was made, is what a lock says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localq.engine.devices import engine_version
from localq.errors import LibraryError, storage_errors
from localq.json_codec import to_json
from localq.library import Library, Model
from localq.messages import msg
from localq.recipes import Recipe
from localq.recipes.lock import Lock, LockedFile, LockedOutput
from localq.version import __version__

__all__ = [
    "checkpoint_files",
    "inputs_sha256",
    "refuse_other_files",
    "refuse_other_recipe",
    "unlike",
]


def checkpoint_files(library: Library, model: Model) -> tuple[LockedFile, ...]:
    """The files of a checkpoint of the library, by name."""
    hashes = library.hashes.of_model(model.name)
    return tuple(
        LockedFile(
            path.relative_to(model.path).as_posix(),
            size,
            known.sha256 if (known := hashes.get(library.place(path))) else None,
        )
        for path, size in sorted(library.sizes(model).items())
    )


def inputs_sha256(recipe: Recipe) -> str:
    """SHA-256 of all in the recipe that the bytes it makes depend on, but for the checkpoint.

    What it checks and keeps is not among that. StorageError.
    """
    calibration = recipe.calibration
    parts: list[object] = [recipe.repo.casefold()]
    for output in recipe.outputs:
        weighed = _content(output.imatrix) if output.imatrix else None
        parts.append(to_json(replace(output, imatrix=None)))
        parts.append(weighed)
    if calibration is not None:
        text = _content(calibration.text) if calibration.text else None
        parts.append(to_json(replace(calibration, text=None)))
        parts.append(text)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _content(path: Path) -> list[str]:
    with storage_errors(path), path.open("rb") as file:
        return [path.name, hashlib.file_digest(file, "sha256").hexdigest()]


def refuse_other_recipe(path: Path, lock: Lock, recipe: Recipe) -> None:
    """LibraryError unless the lock at `path` is of this recipe as it stands."""
    if lock.repo.casefold() != recipe.repo.casefold():
        raise LibraryError(
            msg("{path}: is the lock of {repo}", path=path, repo=lock.repo),
            hint=msg("localq recipe run, without --locked, writes a new one"),
        )
    if lock.inputs_sha256 != inputs_sha256(recipe):
        raise LibraryError(
            msg("{path} was changed after it was locked", path=recipe.path),
            hint=msg("run it without --locked, which writes a new lock; or undo the change"),
        )


def refuse_other_files(path: Path, lock: Lock, files: Sequence[LockedFile]) -> None:
    """LibraryError unless the checkpoint has the very files that the lock at `path` names."""
    here = {file.name: file for file in files}
    for file in lock.files:
        found = here.get(file.name)
        if found is None:
            raise LibraryError(
                msg("{repo} has no {file} any more", repo=lock.repo, file=file.name),
                hint=msg("{path} says what it had; localq pull {repo}", path=path, repo=lock.repo),
            )
        hashes = {file.sha256, found.sha256} - {None}
        if found.size_bytes != file.size_bytes or len(hashes) > 1:
            raise LibraryError(
                msg("{file} of {repo} is not what was locked", file=file.name, repo=lock.repo),
                hint=msg("localq verify {repo} says whether it is as published", repo=lock.repo),
            )


def unlike(path: Path, lock: Lock, output: LockedOutput, name: str) -> None:
    """LibraryError where a file is not, byte for byte, what the lock at `path` says."""
    wanted = lock.output(output.type)
    if wanted is None or wanted.sha256 == output.sha256:
        return
    differing = [
        msg("{what} {then} then, {now} now", what=what, then=then or "-", now=now or "-")
        for what, then, now in (
            ("localq", lock.localq, __version__),
            ("llama-cpp-python", lock.engine, engine_version() or ""),
        )
        if then != now
    ]
    why = (
        "; ".join(differing)
        if differing
        else msg("localq, llama-cpp-python and the checkpoint are the same")
    )
    raise LibraryError(
        msg("{name} is not what {path} says: {why}", name=name, path=path.name, why=why),
        hint=msg("the file stays; without --locked it is taken as it is now"),
    )
