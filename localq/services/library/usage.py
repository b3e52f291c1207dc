"""Where the disk went: by model, and what else localq keeps."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from localq.gpu_quant.environments import environments_folder
from localq.library import Library, Model
from localq.library.disk import Inode, disk_bytes, freed_by_deleting, inode_of

__all__ = ["DiskUsage", "ModelUsage", "disk_usage"]


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """`bytes` is what its files take; `frees_bytes` what the disk would get back without it."""

    model: Model
    bytes: int
    frees_bytes: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes on disk; a file with several names counts once. External models count nothing."""

    models: tuple[ModelUsage, ...]
    models_bytes: int
    partial_bytes: int
    """Downloads and work under way, to be gone on with."""
    trash_bytes: int
    """What emptying the trash gives back."""
    cache_bytes: int
    backends_bytes: int
    """What makes AWQ and GPTQ: environments of their own."""
    other_bytes: int
    """The catalogue, and programs that localq set up for itself."""
    free_bytes: int


def disk_usage(library: Library) -> DiskUsage:
    paths = library.paths
    counted: set[Inode] = set()
    models: list[ModelUsage] = []
    owned: set[Path] = set()
    total = 0
    sizes = library.all_sizes()
    for model in library.models():
        files = list(sizes.get(model.name, {}))
        owned.update(files)
        taken = _bytes(files, set())
        models.append(ModelUsage(model, taken, 0 if model.external else freed_by_deleting(files)))
        if not model.external:
            total += _bytes(files, counted)
    trash = [file for entry in library.trash.entries() for file in entry.files]
    partial = _bytes(_below(paths.partial), counted)
    unowned = [path for path in _below(paths.models) if path not in owned | set(trash)]
    cache = _bytes(_below(paths.cache), counted) if paths.cache != paths.data else 0
    backends = environments_folder(paths)
    skipped = {paths.models, paths.partial, backends}
    rest = [path for path in _children(paths.data) if path not in skipped]
    other = _bytes((file for path in rest for file in _below(path)), counted)
    there = next(folder for folder in (paths.models, *paths.models.parents) if folder.is_dir())
    return DiskUsage(
        models=tuple(sorted(models, key=lambda one: (-one.bytes, one.model.name))),
        models_bytes=total,
        partial_bytes=partial + _bytes(unowned, counted),
        trash_bytes=freed_by_deleting(trash),
        cache_bytes=cache,
        backends_bytes=_bytes(_below(backends), counted),
        other_bytes=other,
        free_bytes=shutil.disk_usage(there).free,
    )


def _bytes(files: Iterable[Path], counted: set[Inode]) -> int:
    """What the files take that were not `counted` before; they are then."""
    total = 0
    for file in files:
        try:
            status = file.stat() if not file.is_symlink() else file.lstat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and inode_of(status) not in counted:
            counted.add(inode_of(status))
            total += disk_bytes(status)
    return total


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _below(path: Path) -> Iterable[Path]:
    """The files at and below `path`; links are not followed."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here.is_dir() and not here.is_symlink():
            waiting += _children(here)
        else:
            yield here
