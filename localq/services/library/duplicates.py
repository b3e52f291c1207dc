"""Files of the library with the same content, and making one file of them.

Only files that have the size of another are read, and each once: its hash is kept with the size,
time and inode it had then.
"""

from __future__ import annotations

import stat
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from localq.errors import Cancelled, LibraryError, storage_errors
from localq.events import Emit, Note, Progress, Unit
from localq.library import Library
from localq.library.disk import freed_by_deleting, inode_of
from localq.library.hashes import SaidBy, hash_file, verified
from localq.messages import msg
from localq.partials import finish, partial_path

__all__ = ["Duplicate", "DuplicatesResult", "find_duplicates"]

_SMALLEST = 64 << 10  # licences and configurations are not worth a link


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Several files of the same content."""

    sha256: str
    size_bytes: int
    files: tuple[Path, ...]
    models: tuple[str, ...]
    """Whose they are, in the same order."""
    saves_bytes: int
    """What the disk gets, or got, back by making one of those inside localq's folder."""


@dataclass(frozen=True, slots=True)
class DuplicatesResult:
    duplicates: tuple[Duplicate, ...]
    linked: bool

    @property
    def saves_bytes(self) -> int:
        return sum(duplicate.saves_bytes for duplicate in self.duplicates)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    model: str
    external: bool


def find_duplicates(
    library: Library, emit: Emit, cancel: threading.Event, *, link: bool = False
) -> DuplicatesResult:
    """The duplicates among the models' files; with `link`, made hard links of one file.

    Files outside localq's folder are compared, never changed.
    """
    groups = _same_size(library)
    hashes = _hash_all(library, [file for group in groups for file in group], emit, cancel)
    by_content: defaultdict[str, list[_File]] = defaultdict(list)
    for group in groups:
        for file in group:
            if file.path in hashes:
                by_content[hashes[file.path]].append(file)
    found: list[Duplicate] = []
    for sha256, files in sorted(by_content.items()):
        if len({inode_of(file.path.stat()) for file in files}) < 2:
            continue
        inside = [file for file in files if not file.external]
        saves = _link(library, sha256, inside, emit) if link else _would_save(inside)
        found.append(
            Duplicate(
                sha256,
                files[0].path.stat().st_size,
                tuple(file.path for file in files),
                tuple(file.model for file in files),
                saves,
            )
        )
    return DuplicatesResult(tuple(found), link)


def _same_size(library: Library) -> list[list[_File]]:
    by_size: defaultdict[int, list[_File]] = defaultdict(list)
    sizes = library.all_sizes()
    for model in library.models():
        for path in sizes.get(model.name, {}):
            try:
                status = path.stat() if model.external else path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size >= _SMALLEST:
                by_size[status.st_size].append(_File(path, model.name, model.external))
    return [
        files
        for files in by_size.values()
        if len({inode_of(file.path.stat()) for file in files}) > 1
    ]


def _hash_all(
    library: Library, files: list[_File], emit: Emit, cancel: threading.Event
) -> dict[Path, str]:
    known = library.hashes.all()
    hashes: dict[Path, str] = {}
    todo: list[_File] = []
    for file in files:
        cached = known.get(library.place(file.path))
        if cached is not None and cached.still_holds(file.path.stat()):
            hashes[file.path] = cached.sha256
        else:
            todo.append(file)
    total, done = sum(file.path.stat().st_size for file in todo), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress("comparing", done, total, Unit.BYTES))

    for file in todo:
        if cancel.is_set():
            raise Cancelled(msg("stopped; nothing was changed"))
        before = file.path.stat()
        sha256 = hash_file(file.path, cancel, count)
        place = library.place(file.path)
        said = known.get(place)
        if said is not None and said.sha256 != sha256:
            emit(
                Note(
                    msg(
                        "{path}: its content changed; localq verify {model}",
                        path=file.path,
                        model=file.model,
                    ),
                    True,
                )
            )
            continue
        hashes[file.path] = sha256
        by = said.said_by if said else SaidBy.RECORDED
        library.hashes.record(place, verified(sha256, by, before, time.time()))
    return hashes


def _would_save(inside: list[_File]) -> int:
    if len(inside) < 2:
        return 0
    kept = inode_of(_kept(inside).path.lstat())
    return freed_by_deleting(file.path for file in inside if inode_of(file.path.lstat()) != kept)


def _kept(inside: list[_File]) -> _File:
    """The one whose names are the most: it would stay on the disk in any case."""
    return max(inside, key=lambda file: file.path.lstat().st_nlink)


def _link(library: Library, sha256: str, inside: list[_File], emit: Emit) -> int:
    """Give all names to the first file; the bytes that were given back."""
    if len(inside) < 2:
        return 0
    kept = _kept(inside)
    saved = _would_save(inside)
    for other in inside:
        before = other.path.lstat()
        if inode_of(before) == inode_of(kept.path.lstat()):
            continue
        for file in (kept, other):
            cached = library.hashes.all().get(library.place(file.path))
            if (
                cached is None
                or cached.sha256 != sha256
                or not cached.still_holds(file.path.lstat())
            ):
                raise LibraryError(
                    msg("{path}: changed meanwhile", path=file.path), hint=msg("try again")
                )
        partial = partial_path(other.path)
        try:
            with storage_errors(other.path):
                partial.hardlink_to(kept.path)
                finish(partial, other.path, replace=True)
        finally:
            partial.unlink(missing_ok=True)
        known = library.hashes.all()[library.place(other.path)]
        library.hashes.record(
            library.place(other.path),
            verified(sha256, known.said_by, other.path.lstat(), time.time()),
        )
        emit(Note(msg("{path} is now a link to {path2}", path=other.path, path2=kept.path)))
    return saved
