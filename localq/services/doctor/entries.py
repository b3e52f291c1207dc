"""Entries of the catalogue against the files on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from localq.errors import LocalqError
from localq.library import Library, Model
from localq.library.hashes import SaidBy
from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.library.headers import parameters_of
from localq.services.library.verify import mend

__all__ = ["drifted", "holds_anything", "missing"]


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
            if lost := _lost_folder(library, model):
                yield Problem(
                    msg(
                        "{name}: nothing of it is {where}, and {lost} is empty or not there",
                        name=model.name,
                        where=where,
                        lost=lost,
                    ),
                    msg(
                        "keeps it: connect the disk it is on; if that is gone for good: localq rm"
                        " {name}",
                        name=model.name,
                    ),
                )
                continue
            yield Problem(
                msg(
                    "{name}: nothing of it is {where}: {first}",
                    name=model.name,
                    where=where,
                    first=first,
                ),
                msg("forgets it"),
                partial(library.trash.put, model.name),
            )
        else:
            yield Problem(
                msg("{name}: {gone} is gone", name=model.name, gone=gone[0]) + _more(len(gone)),
                mend(library, model),
            )


def _lost_folder(library: Library, model: Model) -> Path | None:
    """The folder whose absence explains that the model's files are gone: that of a disk which is
    not connected looks so, not that of a file which was deleted."""
    top = model.path.parent if model.external else library.paths.models
    for link in (model.path, *model.path.parents):
        if link.is_symlink() and not link.exists():
            return link
    return None if holds_anything(top) else top


def holds_anything(folder: Path) -> bool:
    """Whether anything is in the folder."""
    try:
        return next(folder.iterdir(), None) is not None
    except OSError:
        return False


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
        problem = msg(
            "{first}: has {real:,} bytes, not {files:,}",
            first=first,
            real=real[first],
            files=files[first],
        ) + _more(len(wrong))
        if not _was_promised(library, model, wrong) and _reads(model):
            yield Problem(
                problem,
                msg("the file reads well: enters the sizes as they are"),
                partial(_enter, library, model, real),
            )
        else:
            yield Problem(problem, mend(library, model))


def _was_promised(library: Library, model: Model, files: Sequence[Path]) -> bool:
    """Whether what a file should hold is known from where it was made: then it is damaged."""
    known = library.hashes.of_model(model.name)
    said = [known[place].said_by for file in files if (place := library.place(file)) in known]
    return SaidBy.HUB in said or SaidBy.MADE in said


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
    return msg(" (and {count} more)", count=count - 1) if count > 1 else ""
