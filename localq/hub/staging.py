"""Where unfinished downloads wait, and that only one process works on each.

    partial/<owner>/<name>/.lock
    partial/<owner>/<name>/<commit>/model.safetensors
    partial/<owner>/<name>/<commit>/.digests.partial

Files are complete only when `fetch_all` says so. A folder of another commit can never be
finished any more, and goes; but what is there of files that are the same in the new commit, by
the digests noted when they were begun, is gone on with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from localq.display import byte_size
from localq.errors import HubError, StorageError, storage_errors
from localq.hub.source import RemoteFile
from localq.messages import msg

__all__ = ["drop_empty", "partial_folder", "refuse_full_disk", "staging_folder"]

_LOCK = ".lock"
_DIGESTS = ".digests.partial"
"""No file of a repository may be called so."""
_MAX_DIGESTS_BYTES = 16 << 20
_ELSEWHERE = msg("let LOCALQ_HOME name another folder")
_RESERVE = 64 << 20
"""Bytes that a disk is left with: the catalogue and other programs need some."""


def partial_folder(root: Path, repo: str, revision: str) -> Path:
    """Where the unfinished files of one commit are, if there are any."""
    return root / repo / revision


@contextmanager
def staging_folder(
    root: Path,
    repo: str,
    revision: str,
    wanted: Mapping[str, RemoteFile] | None = None,
    listed: Iterable[RemoteFile] = (),
) -> Iterator[Path]:
    """The folder for one commit, for this process alone until the block ends.

    `repo` and `revision` have been checked to be safe names. `wanted` are the files that are to
    come, by their places in the folder; what another commit's folder has of files that are
    `listed` is moved here. What is left in the folder stays for the next time; an empty one goes.
    HubError where another process has it.
    """
    from filelock import FileLock, Timeout

    model = root / repo
    with storage_errors(model, _ELSEWHERE):
        model.mkdir(parents=True, exist_ok=True)
        lock = FileLock(model / _LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise HubError(
                msg("{repo} is being pulled by another localq", repo=repo),
                hint=msg("wait until it is done"),
            ) from None
    try:
        folder = partial_folder(root, repo, revision)
        with storage_errors(folder, _ELSEWHERE):
            folder.mkdir(exist_ok=True)
            digests = _digests(folder)
            digests |= _take_over(model, folder, {file.digest.hex for file in listed})
            digests |= {place: file.digest.hex for place, file in (wanted or {}).items()}
            _note_digests(folder, digests)
        yield folder
    finally:
        lock.release()
        _prune(model, [revision])


def drop_empty(root: Path, repo: str) -> None:
    """Delete the folders, without a file in them, of a download that was killed at its very end."""
    from filelock import FileLock, Timeout

    model = root / repo
    if not model.is_dir():
        return
    try:
        with FileLock(model / _LOCK).acquire(blocking=False):
            commits = [path.name for path in model.iterdir() if path.is_dir()]
    except (Timeout, OSError):
        return  # another process has come
    _prune(model, commits)


def refuse_full_disk(folder: Path, needed: int) -> None:
    """StorageError if the disk of `folder` cannot take `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE:
        raise StorageError(
            msg(
                "{folder}: {needed} are needed, {reserve} of them to be left free; {free} are free",
                folder=folder,
                needed=byte_size(needed + _RESERVE),
                reserve=byte_size(_RESERVE),
                free=byte_size(free),
            ),
            hint=msg("free some space (localq trash empty), or let LOCALQ_HOME name a larger disk"),
        )


def _take_over(model: Path, folder: Path, fitting: set[str]) -> dict[str, str]:
    """Move what other commits' folders have of files with these digests into `folder`, and drop
    the rest; the digests by the places of what was moved."""
    moved: dict[str, str] = {}
    for other in model.iterdir():
        if other == folder or not other.is_dir() or other.is_symlink():
            continue
        for place, digest in _digests(other).items():
            source, target = other / place, folder / place
            if digest in fitting and not target.exists() and _is_within(source, other):
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
                moved[place] = digest
        shutil.rmtree(other)
    return moved


def _is_within(file: Path, folder: Path) -> bool:
    if not file.is_relative_to(folder) or not file.is_file():
        return False
    return file.resolve() == folder.resolve() / file.relative_to(folder)


def _digests(folder: Path) -> dict[str, str]:
    """What was noted of the folder's files; nothing where that makes no sense."""
    try:
        with (folder / _DIGESTS).open("rb") as file:
            noted = json.loads(file.read(_MAX_DIGESTS_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(noted, dict):
        return {}
    return {place: digest for place, digest in noted.items() if isinstance(digest, str)}


def _note_digests(folder: Path, digests: Mapping[str, str]) -> None:
    if digests:
        (folder / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")


def _prune(model: Path, revisions: Iterable[str]) -> None:
    try:
        for commit in (model / revision for revision in revisions):
            folders = [path for path in commit.rglob("*") if path.is_dir()]
            for folder in sorted(folders, reverse=True):  # those in a folder before it
                folder.rmdir()
            if commit.exists():
                if [*commit.iterdir()] == [commit / _DIGESTS]:
                    (commit / _DIGESTS).unlink()
                commit.rmdir()
        (model / _LOCK).unlink(missing_ok=True)
        model.rmdir()
        model.parent.rmdir()
    except OSError:
        return  # something is left to be continued, or another process has come
