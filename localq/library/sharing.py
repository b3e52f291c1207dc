"""Who else refers to a model's files: other models, the trash, other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from localq.library.adoptions import Way
from localq.library.disk import Inode, inode_of
from localq.library.library import Library
from localq.library.model import Model

__all__ = ["Sharer", "sharers"]


@dataclass(frozen=True, slots=True)
class Sharer:
    """`file` is one file with another of `who`."""

    file: Path
    who: str
    """The other model's name, or the other program's."""
    other: Path
    """What the file is called there."""


def sharers(library: Library, model: Model) -> list[Sharer]:
    """The other names of this model's files, as far as localq knows them."""
    mine: dict[Inode, Path] = {}
    for file in library.files(model):
        try:
            status = file.stat()
        except OSError:
            continue
        if status.st_nlink > 1 or model.external:
            mine[inode_of(status)] = file
    if not mine:
        return []
    found: list[Sharer] = []
    for name, sizes in library.all_sizes().items():
        if name != model.name:
            found += _same(mine, name, sizes)
    for entry in library.trash.entries():
        found += _same(mine, f"{entry.model.name} in the trash", entry.files)
    for adoption in library.adoptions.of_model(model.name).values():
        if adoption.way in (Way.HARD_LINK, Way.REFERENCE):
            who = adoption.tool or "a file of yours"
            found += _same(mine, who, [Path(adoption.source)])
    return found


def _same(mine: dict[Inode, Path], who: str, others: Iterable[Path]) -> list[Sharer]:
    found: list[Sharer] = []
    for other in others:
        try:
            file = mine.get(inode_of(other.stat()))
        except (OSError, ValueError):
            continue
        if file is not None:
            found.append(Sharer(file, who, other))
    return found
