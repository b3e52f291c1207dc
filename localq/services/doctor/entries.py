"""Entries of the catalogue against the files on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from localq.errors import LocalqError
from localq.library import Library, Model
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.library.headers import parameters_of
from localq.services.library.verify import mend

__all__ = ["drifted", "missing"]


def missing(context: CheckContext) -> Iterator[Problem]:
    """Models of which files are gone, and references that lead nowhere."""
    library = context.library
    sizes = library.all_sizes()
    for model in library.models():
        files = sizes.get(model.name, {})
        gone = [path for path in files if _size(path) is None]
        if not gone and files:
            continue
        if len(gone) == len(files):
            where = "where it lay" if model.external else "in its place"
            first = gone[0] if gone else model.path
            yield Problem(
                f"{model.name}: nothing of it is {where}: {first}",
                "forgets it",
                partial(library.trash.put, model.name),
            )
        else:
            yield Problem(
                f"{model.name}: {gone[0]} is gone" + _more(len(gone)), mend(library, model)
            )


def drifted(context: CheckContext) -> Iterator[Problem]:
    """Sizes in the catalogue that are not those on disk."""
    library = context.library
    sizes = library.all_sizes()
    for model in library.models():
        files = sizes.get(model.name, {})
        real = {path: _size(path) for path in files}
        if None in real.values():
            continue  # `missing` tells of it
        wrong = [path for path, size in real.items() if size != files[path]]
        if not wrong:
            continue
        first = wrong[0]
        problem = f"{first}: has {real[first]:,} bytes, not {files[first]:,}" + _more(len(wrong))
        if _reads(model):
            yield Problem(
                problem,
                "the file reads well: enters the sizes as they are",
                partial(_enter, library, model, real),
            )
        else:
            yield Problem(problem, mend(library, model))


def _enter(library: Library, model: Model, sizes: Mapping[Path, int | None]) -> None:
    total = sum(size or 0 for size in sizes.values())
    library.add(replace(model, size_bytes=total), list(sizes))


def _reads(model: Model) -> bool:
    try:
        return parameters_of(model) == model.parameters
    except LocalqError:
        return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
