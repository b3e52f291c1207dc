"""Moves into and out of the trash that a dead process left, and trash that does not add up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from localq.library.filenames import component_problem
from localq.library.store import TRASH
from localq.library.trash import TrashState
from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.doctor.entries import holds_anything

__all__ = ["lost", "unfinished"]


def unfinished(context: CheckContext) -> Iterator[Problem]:
    """Removals and restorations that were cut off."""
    trash = context.library.trash
    for entry in trash.entries():
        name = entry.model.name
        match entry.state:
            case TrashState.MOVING | TrashState.RESTORING:
                yield Problem(
                    msg(
                        "{name}: was being {doing} when localq was stopped",
                        name=name,
                        doing=_DOING[entry.state],
                    ),
                    msg("moves all of it into the trash, from where localq restore brings it back"),
                    lambda: _settle(context),
                )
            case TrashState.EMPTYING | TrashState.DISCARDING:
                yield Problem(
                    msg("{name}: was being deleted for good when localq was stopped", name=name),
                    msg("deletes the rest"),
                    lambda: _settle(context),
                )


_DOING = {TrashState.MOVING: "removed", TrashState.RESTORING: "restored"}


def lost(context: CheckContext) -> Iterator[Problem]:
    """Entries whose files are gone, and files that no entry knows."""
    library = context.library
    entries = library.trash.entries()
    root = library.paths.models
    if entries and not holds_anything(root):
        yield Problem(
            msg("{root}: is empty or not there, and so is the trash in it", root=root),
            msg(
                "keeps what the trash listed: connect the disk it is on; if that is gone"
                " for good: localq trash empty"
            ),
        )
        return
    known: set[Path] = set()
    for entry in entries:
        known.update(entry.files)
        if entry.state is not TrashState.KEPT:
            continue
        gone = [file for file in entry.files if not os.path.lexists(file)]
        if len(gone) == len(entry.files):
            yield Problem(
                msg("{name}: is in the trash without any of its files", name=entry.model.name),
                msg("forgets it"),
                partial(_empty, context, entry.id),
            )
        elif gone:
            yield Problem(
                msg("{name}: {gone} is gone from the trash", name=entry.model.name, gone=gone[0]),
                msg("delete the rest with: localq trash empty {id}", id=entry.id),
            )
    numbers = {str(entry.id) for entry in entries}
    for folder in _folders(library.paths.models / TRASH):
        files = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
        unknown = sorted(set(files) - known)
        if not unknown:
            continue
        places = [path.relative_to(folder) for path in unknown]
        odd = any(component_problem(part) for place in places for part in place.parts)
        if folder.name in numbers or not folder.name.isdecimal() or odd:
            yield Problem(
                msg("{unknown}: nobody knows what this is", unknown=unknown[0]),
                msg("look at it, and delete it yourself if you do not want it"),
            )
        else:
            yield Problem(
                msg(
                    "{folder}: {unknown} files in the trash that the catalogue does not know",
                    folder=folder,
                    unknown=len(unknown),
                ),
                msg("lists them in localq trash again, from where they can be restored or deleted"),
                partial(
                    library.trash.adopt, int(folder.name), [place.as_posix() for place in places]
                ),
            )


def _folders(trash: Path) -> list[Path]:
    try:
        return sorted(path for path in trash.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _settle(context: CheckContext) -> None:
    context.library.trash.settle()


def _empty(context: CheckContext, number: int) -> None:
    trash = context.library.trash
    trash.empty([entry for entry in trash.entries() if entry.id == number])
