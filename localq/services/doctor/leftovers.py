"""Half-made files whose makers are gone, and folders that nobody needs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from localq.library.disk import disk_bytes
from localq.library.store import TRASH
from localq.messages import msg
from localq.partials import stale_partials
from localq.services.doctor.doctor import CheckContext, Problem

__all__ = ["in_use", "stale"]

_LOCK = ".lock"
_ABANDONED_SECONDS = 7 * 24 * 3600.0
"""For so long an unfinished download is taken for one that will be gone on with."""


def stale(context: CheckContext) -> Iterator[Problem]:
    """Partial files of dead processes, abandoned downloads, locks of nobody, empty folders."""
    paths = context.library.paths
    for folder in [*_folders(paths.models), *_folders(paths.partial), paths.data]:
        for path in stale_partials(folder):
            yield Problem(
                msg("{path}: was left half-made ({size:,} bytes)", path=path, size=_size(path)),
                msg("deletes it"),
                partial(path.unlink, missing_ok=True),
            )
    yield from _downloads(paths.partial)
    for folder in _folders(paths.models)[1:]:
        if not any(folder.iterdir()):
            yield Problem(
                msg("{folder}: is empty", folder=folder),
                msg("deletes it"),
                partial(_remove_empty, folder, paths.models),
            )


def _downloads(root: Path) -> Iterator[Problem]:
    busy: set[Path] = set()
    for folder in _folders(root)[1:]:
        entries = sorted(folder.iterdir())
        lock = folder / _LOCK
        if lock in entries and in_use(lock):
            busy.add(folder)
        if busy.intersection([folder, *folder.parents]):
            continue
        if entries in ([], [lock]):
            yield Problem(
                msg("{folder}: is what a finished download left", folder=folder),
                msg("deletes it"),
                partial(_drop, folder, root),
            )
        elif lock in entries:
            for commit in (path for path in entries if path.is_dir() and not path.is_symlink()):
                files = [path for path in commit.rglob("*") if path.is_file()]
                latest = max((path.stat().st_mtime for path in [commit, *files]), default=0.0)
                if latest < time.time() - _ABANDONED_SECONDS:
                    size = sum(map(_size, files))
                    yield Problem(
                        msg(
                            "{commit}: a download nobody went on with for a week ({size:,} bytes)",
                            commit=commit,
                            size=size,
                        ),
                        msg("deletes it; localq pull would begin anew"),
                        partial(shutil.rmtree, commit, ignore_errors=True),
                    )


def in_use(lock: Path) -> bool:
    """Whether a running process holds the lock of a download."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    attempt = FileLock(lock)
    try:
        attempt.acquire(blocking=False)
    except (Timeout, OSError):
        return True
    attempt.release()
    return False


def _drop(folder: Path, root: Path) -> None:
    """The folder, and those around it that hold nothing else but a lock of nobody."""
    while folder != root:
        lock = folder / _LOCK
        try:
            if [*folder.iterdir()] == [lock] and not in_use(lock):
                lock.unlink(missing_ok=True)
            folder.rmdir()
        except OSError:
            return  # something has come into it meanwhile, or it is gone
        folder = folder.parent


def _remove_empty(folder: Path, root: Path) -> None:
    """The folder, and those around it that held nothing else."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return  # something has come into it meanwhile
        folder = folder.parent


def _folders(root: Path) -> list[Path]:
    """`root` and the folders below it but the trash, the outer ones first; links not followed."""
    if not root.is_dir():
        return []
    found = [root]
    for here, names, _ in os.walk(root):
        names[:] = sorted(name for name in names if name != TRASH)
        found += [path for name in names if not (path := Path(here, name)).is_symlink()]
    return found


def _size(path: Path) -> int:
    try:
        return disk_bytes(path.lstat())
    except OSError:
        return 0
