"""Remove models and bring them back; what that would do, before it is done."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from localq.errors import NotFoundError, UsageError
from localq.library import Library, Model
from localq.library.disk import freed_by_deleting
from localq.library.model import Removed
from localq.library.names import find
from localq.library.sharing import Sharer, sharers
from localq.library.trash import TrashEntry
from localq.messages import msg

__all__ = [
    "Emptied",
    "Removal",
    "empty_trash",
    "end_interrupted",
    "parse_age",
    "plan_removal",
    "remove",
    "restore",
]


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing one model would do."""

    model: Model
    frees_bytes: int
    """When the trash is emptied."""
    sharers: tuple[Sharer, ...]


@dataclass(frozen=True, slots=True)
class Emptied:
    """What was, or (a dry run) would be, deleted for good."""

    models: tuple[Model, ...]
    freed_bytes: int


def end_interrupted(
    library: Library, names: Sequence[str], *, now: bool = False
) -> tuple[list[Removed], list[str]]:
    """End what a dead process was moving or deleting, before anything else is done.

    Returns the models among `names` that are removed by that, as if this had removed them (`now`:
    for good), and the names that are still to be removed.
    """
    settled = library.trash.settle()
    removed: list[Removed] = []
    left: list[str] = []
    for name in names:
        try:
            library.find(name)
        except NotFoundError:
            entry = _meant(settled, name)
            if entry is None:
                left.append(name)
                continue
            kept = [one for one in library.trash.entries() if one.id == entry.id]
            frees = freed_by_deleting(file for one in kept for file in one.files)
            if now:
                library.trash.empty(kept)
            removed.append(Removed(entry.model, entry.id, frees))
        else:
            left.append(name)
    return removed, left


def _meant(entries: Sequence[TrashEntry], name: str) -> TrashEntry | None:
    by_name = {entry.model.name: entry for entry in entries}
    try:
        return by_name[find([entry.model for entry in entries], name).name]
    except NotFoundError:
        return None


def plan_removal(library: Library, names: Sequence[str]) -> tuple[list[Removal], int]:
    """What removing these models would do, and the bytes that emptying gives back in all."""
    models = {model.name: model for model in map(library.find_removable, names)}
    plans: list[Removal] = []
    for model in models.values():
        frees = 0 if model.external else freed_by_deleting(library.files(model))
        plans.append(Removal(model, frees, tuple(sharers(library, model))))
    own = [model for model in models.values() if not model.external]
    return plans, freed_by_deleting(file for model in own for file in library.files(model))


def remove(library: Library, names: Sequence[str], *, now: bool = False) -> list[Removed]:
    """Move models into the trash, all or (where one is not there) none; `now` deletes them."""
    ended, left = end_interrupted(library, names, now=now)
    models = {model.name: model for model in map(library.find_removable, left)}
    return [*ended, *(library.trash.put(name, discard=now) for name in models)]


def restore(library: Library, names: Sequence[str]) -> list[Model]:
    """Bring models back from the trash."""
    library.trash.settle()
    entries = {entry.id: entry for entry in map(library.trash.find, names)}
    return [library.trash.restore(entry) for entry in entries.values()]


def empty_trash(
    library: Library,
    names: Sequence[str] = (),
    *,
    older_than: float | None = None,
    dry_run: bool = False,
) -> Emptied:
    """Delete what is in the trash: all, those named, those removed `older_than` seconds ago."""
    chosen: list[TrashEntry] = (
        list({entry.id: entry for entry in map(library.trash.find, names)}.values())
        if names
        else library.trash.entries()
    )
    if older_than is not None:
        chosen = [entry for entry in chosen if entry.removed_at <= time.time() - older_than]
    if names and not chosen:
        raise NotFoundError(msg("none of these was in the trash for so long"))
    models = tuple(entry.model for entry in chosen)
    if dry_run:
        return Emptied(models, freed_by_deleting(file for e in chosen for file in e.files))
    freed = library.trash.empty(chosen)
    library.trash.settle()
    return Emptied(models, freed)


def parse_age(text: str) -> float:
    """7d, 12h, 30m or 90s as seconds."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip().lower())
    if match is None:
        raise UsageError(
            msg("{text!r} is not a time", text=text), hint=msg("for example: --older-than 7d")
        )
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}[match[2]]
    return float(int(match[1]) * unit)
