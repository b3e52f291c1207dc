"""Bringing a pull's files together, and how much of them is here before it begins."""

from __future__ import annotations

import hashlib
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from localq.errors import HubError, storage_errors
from localq.events import Emit
from localq.hub.backoff import stop_if
from localq.hub.fetch import fetch_all, matches
from localq.hub.folder import FolderSource
from localq.hub.source import DigestKind, RemoteFile, Source
from localq.hub.staging import refuse_full_disk
from localq.messages import msg
from localq.services.pull.plan import Plan, size_of

__all__ = ["Staged", "contents", "present_bytes", "stage"]

_ELSEWHERE = msg("let LOCALQ_HOME name another folder")
_CHUNK = 1 << 20
_QUICKLY_HASHED = 64 << 20
"""A preview reads files up to this size to see whether they are right."""


@dataclass(frozen=True, slots=True)
class Staged:
    """`moved_bytes` came over the network; the files `kept` are in their places already."""

    moved_bytes: int
    kept: frozenset[Path]


def stage(
    source: Source,
    plan: Plan,
    folder: Path,
    emit: Emit,
    cancel: threading.Event,
) -> Staged:
    """Bring all files of the plan together in `folder`.

    What the library has is taken over where its content is the same, and so is what was kept
    when the checkpoint was looked at. StorageError before anything is fetched if the disk cannot
    take it all.
    """
    kept: set[Path] = set()
    missing: dict[Path, RemoteFile] = {}
    for final, file in plan.files.items():
        staged = plan.staged(folder, final)
        with storage_errors(staged, _ELSEWHERE):
            staged.parent.mkdir(parents=True, exist_ok=True)
            if staged.exists() and staged.stat().st_nlink > 1:
                staged.unlink()  # a stopped run's link to what the library has
        twin = None
        if not staged.exists():
            twin = _twin(plan, final, file, cancel)
        if twin is None:
            missing[staged] = file
            if not staged.exists() and (copy := plan.kept_copy(final, file)):
                with storage_errors(staged, _ELSEWHERE):
                    shutil.copyfile(copy, staged)  # which is checked as what came over the network
            continue
        with storage_errors(staged, _ELSEWHERE):
            _link(twin, staged)
        if twin == final:
            kept.add(final)
    refuse_full_disk(folder, sum(file.size - (size_of(p) or 0) for p, file in missing.items()))
    if isinstance(source, FolderSource):
        fetch_all(source, missing, emit=emit, cancel=cancel, stage="copying")
        return Staged(0, frozenset(kept))
    return Staged(fetch_all(source, missing, emit=emit, cancel=cancel), frozenset(kept))


def contents(plan: Plan, folder: Path, cancel: threading.Event) -> dict[Path, str]:
    """The SHA-256 of the plan's files, which are all in `folder`, by their places.

    The Hub names large files by it; small ones, which it names as Git does, are read once more
    and compared with that name. HubError where one has become another since it came.
    """
    found: dict[Path, str] = {}
    for final, file in plan.files.items():
        if file.digest.kind is DigestKind.SHA256:
            found[final] = file.digest.hex
            continue
        named, sha256 = file.digest.hasher(file.size), hashlib.sha256()
        staged = plan.staged(folder, final)
        with storage_errors(staged, _ELSEWHERE), staged.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                stop_if(cancel)
                named.update(chunk)
                sha256.update(chunk)
        if named.hexdigest() != file.digest.hex:
            raise HubError(
                msg("{path}: was changed by someone while it was pulled", path=file.path),
                hint=msg("run the same command again"),
            )
        found[final] = sha256.hexdigest()
    return found


def present_bytes(
    plan: Plan,
    folder: Path,
    final: Path,
    file: RemoteFile,
    cancel: threading.Event,
    *,
    same_revision: bool,
) -> int:
    """How many bytes of a file need not come again, by its size where it is of the same revision;
    what else would take long to read is not counted."""
    arrived = size_of(plan.staged(folder, final))
    if arrived is not None:
        return min(arrived, file.size)
    if (same_revision and size_of(final) == file.size) or plan.kept_copy(final, file):
        return file.size
    quickly = file.size <= _QUICKLY_HASHED
    return file.size if quickly and _twin(plan, final, file, cancel) is not None else 0


def _twin(plan: Plan, final: Path, file: RemoteFile, cancel: threading.Event) -> Path | None:
    """A file of the library with the same content."""
    return next((path for path in plan.twins(final) if matches(path, file, cancel)), None)


def _link(final: Path, staged: Path) -> None:
    try:
        staged.hardlink_to(final)
    except OSError:  # a filesystem without hard links
        shutil.copyfile(final, staged)
