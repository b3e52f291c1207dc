"""A candidate's files become the library's: linked, shared, referred to, copied or moved."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from localq.errors import (
    BadFileError,
    LibraryError,
    LocalqError,
    StorageError,
    UsageError,
    storage_errors,
)
from localq.events import Emit, Note, Progress, Unit
from localq.library import Library, Model
from localq.library.adoptions import Adoption, Way
from localq.library.foreign import ForeignModel, FoundFile
from localq.library.hashes import FileHash, SaidBy, verified
from localq.library.linking import copy_file, hard_link, reflink
from localq.messages import msg
from localq.partials import partial_path, resumable_path, sweep_partials
from localq.services.library.candidate import ImportCandidate

__all__ = ["adopt", "end_move"]

_RESERVE = 64 << 20
"""Bytes that a disk is left with."""


def adopt(
    library: Library,
    candidate: ImportCandidate,
    emit: Emit,
    cancel: threading.Event,
    *,
    copy: bool = False,
    move: bool = False,
) -> tuple[Model, Way]:
    """Bring the files into their places, enter the model, and say which way it went.

    Cancelled while copying keeps what was copied; after any other error all is as it was.
    """
    found = candidate.found
    copied: dict[Path, str] = {}
    staged: dict[Path, Path] = {}
    way: Way
    if move:
        way = Way.MOVE
        _refuse_links(found)
    elif copy:
        way = Way.COPY
    else:
        way, staged = _link_all(library, candidate)
    if move and not _same_disk(library, found):
        emit(Note(msg("it lies on another disk: copying, then deleting it there")))
    if way is Way.COPY or (way is Way.MOVE and not _same_disk(library, found)):
        staged, copied = _copy_all(library, candidate, emit, cancel)
    elif way is Way.MOVE:
        # Second names first: killed in between, the model is still whole where it was.
        _, staged = _link_all(library, candidate)
        staged = staged or {file.real: file.real for file in found.files}
    if way is Way.REFERENCE:
        entered = _refer(library, candidate)
    else:
        entered = _admit(library, candidate, staged, way)
    _note_hashes(library, entered, candidate, way, copied)
    if way is Way.MOVE:
        end_move(library, found, entered)
    return entered, way


def _refuse_links(found: ForeignModel) -> None:
    for file in found.files:
        if not stat.S_ISREG(file.path.lstat().st_mode):
            raise UsageError(
                msg("{path}: is a link; moving it would not move the model", path=file.path),
                hint=msg("name the file itself: {real}", real=file.real),
            )


def end_move(library: Library, found: ForeignModel, model: Model) -> None:
    """Take away the files whose content the library's `model` has by now.

    That by which a checkpoint is known goes last: killed in between, the same command ends it.
    """
    _refuse_links(found)
    root = library.paths.models.resolve()
    own = {path.resolve() for path in library.all_sizes().get(model.name, {})}
    if not all(path.is_relative_to(root) for path in own):
        return  # the library only refers to the files
    for file in sorted(found.files, key=lambda file: file.path.name == "config.json"):
        if file.real not in own:
            with storage_errors(
                file.real, hint=msg("the model is in the library; delete it there")
            ):
                file.real.unlink(missing_ok=True)


def _same_disk(library: Library, found: ForeignModel) -> bool:
    models = library.paths.models
    there = next(folder for folder in (models, *models.parents) if folder.is_dir())
    return all(file.real.stat().st_dev == there.stat().st_dev for file in found.files)


def _link_all(library: Library, candidate: ImportCandidate) -> tuple[Way, dict[Path, Path]]:
    """Second names or shared copies of all files, or (a reference) of none."""
    folder = library.paths.partial
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sweep_partials(folder)
    staged: dict[Path, Path] = {}
    way = Way.HARD_LINK
    for file in candidate.found.files:
        partial = partial_path(folder / candidate.targets[file.real].name)
        if hard_link(file.real, partial):
            staged[file.real] = partial
        elif reflink(file.real, partial):
            way, staged[file.real] = Way.REFLINK, partial
        else:
            for path in staged.values():
                path.unlink(missing_ok=True)
            return Way.REFERENCE, {}
    return way, staged


def _copy_all(
    library: Library, candidate: ImportCandidate, emit: Emit, cancel: threading.Event
) -> tuple[dict[Path, Path], dict[Path, str]]:
    folder = library.paths.partial
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sweep_partials(folder)
    files = candidate.found.files
    staged = {file.real: _resumable(folder, file, candidate.targets[file.real]) for file in files}
    begun = sum(path.stat().st_size for path in staged.values() if path.exists())
    total = candidate.found.size_bytes
    free = shutil.disk_usage(folder).free
    if total - begun + _RESERVE > free:
        raise StorageError(
            msg(
                "{folder}: a copy needs {total:,} bytes, the disk has {free:,} left",
                folder=folder,
                total=total - begun,
                free=free,
            ),
            hint=msg("leave --copy out, or free some space: localq trash empty, localq du"),
        )
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress("copying", done, total, Unit.BYTES))

    hashes: dict[Path, str] = {}
    for file in files:
        hashes[file.real] = copy_file(file.real, staged[file.real], cancel, count)
        if file.sha256 not in (None, hashes[file.real]):
            staged[file.real].unlink()
            raise BadFileError(
                file.real,
                msg("its content is not what its name says"),
                hint=msg("get the model again there"),
            )
    return staged, hashes


def _resumable(folder: Path, file: FoundFile, target: Path) -> Path:
    status = file.real.stat()
    key = f"{file.real}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape")
    return resumable_path(folder / target.name, hashlib.sha256(key).hexdigest())


def _admit(
    library: Library, candidate: ImportCandidate, staged: Mapping[Path, Path], way: Way
) -> Model:
    admitted: list[tuple[Path, Path]] = []
    targets = candidate.targets
    adopted = {
        targets[file.real]: Adoption(candidate.found.tool, way, str(file.real))
        for file in candidate.found.files
    }
    try:
        for source, partial in staged.items():
            if _admit_file(library, partial, targets[source], source):
                admitted.append((partial, targets[source]))
        return library.add(candidate.model, list(targets.values()), adopted=adopted)
    except LocalqError:
        for partial, target in admitted:
            if way is Way.MOVE and not partial.exists():
                with suppress(OSError):
                    target.rename(partial)
            else:
                target.unlink(missing_ok=True)
        raise
    finally:
        if way is not Way.COPY:
            for source, partial in staged.items():
                if partial != source and partial.suffix == ".partial":
                    partial.unlink(missing_ok=True)


def _admit_file(library: Library, partial: Path, target: Path, source: Path) -> bool:
    """Whether it was not there yet; LibraryError where something is there that is not this file."""
    try:
        library.admit(partial, target)
        return True
    except LibraryError as error:
        # What an import that was killed had put there is welcome.
        if not target.is_file() or not (
            target.samefile(source) or filecmp.cmp(target, source, shallow=False)
        ):
            raise LibraryError(
                error.message, hint=msg("localq doctor --repair looks into it")
            ) from None
        if partial != source:
            partial.unlink(missing_ok=True)
        return False


def _refer(library: Library, candidate: ImportCandidate) -> Model:
    found = candidate.found
    path = found.folder or found.files[0].path
    model = replace(candidate.model, path=path, external=True)
    adopted = {
        file.path: Adoption(found.tool, Way.REFERENCE, str(file.real)) for file in found.files
    }
    return library.add(model, [file.path for file in found.files], adopted=adopted)


def _note_hashes(
    library: Library,
    model: Model,
    candidate: ImportCandidate,
    way: Way,
    copied: Mapping[Path, str],
) -> None:
    for file in candidate.found.files:
        path = file.path if way is Way.REFERENCE else candidate.targets[file.real]
        place = library.place(path)
        if computed := copied.get(file.real):
            said = SaidBy.NAME if file.sha256 else SaidBy.RECORDED
            library.hashes.record(place, verified(computed, said, path.stat(), time.time()))
        elif file.sha256 is not None:
            library.hashes.record(place, FileHash(file.sha256, SaidBy.NAME))
