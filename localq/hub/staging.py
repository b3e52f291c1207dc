"""Where unfinished downloads wait, and that only one process works on each.

    partial/<owner>/<name>/.lock
    partial/<owner>/<name>/<commit>/model.safetensors

Files are complete only when `fetch_all` says so. A folder of another commit can never be
finished any more, and goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localq.display import byte_size
from localq.errors import HubError, StorageError, storage_errors

__all__ = ["partial_folder", "refuse_full_disk", "staging_folder"]

_LOCK = ".lock"
_ELSEWHERE = "let LOCALQ_HOME name another folder"
_RESERVE = 64 << 20
"""Bytes that a disk is left with: the catalogue and other programs need some."""


def partial_folder(root: Path, repo: str, revision: str) -> Path:
    """Where the unfinished files of one commit are, if there are any."""
    return root / repo / revision


@contextmanager
def staging_folder(root: Path, repo: str, revision: str) -> Iterator[Path]:
    """The folder for one commit, for this process alone until the block ends.

    `repo` and `revision` have been checked to be safe names. What is left in the folder stays for
    the next time; an empty one goes. HubError where another process has it.
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
                f"{repo} is being pulled by another localq", hint="wait until it is done"
            ) from None
    try:
        folder = partial_folder(root, repo, revision)
        with storage_errors(folder, _ELSEWHERE):
            _drop_other_commits(model, keep=folder)
            folder.mkdir(exist_ok=True)
        yield folder
    finally:
        lock.release()
        _prune(model, revision)


def refuse_full_disk(folder: Path, needed: int) -> None:
    """StorageError if the disk of `folder` cannot take `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE:
        raise StorageError(
            f"{folder}: {byte_size(needed + _RESERVE)} are needed, "
            f"{byte_size(_RESERVE)} of them to be left free; {byte_size(free)} are free",
            hint="free some space (localq trash empty), or let LOCALQ_HOME name a larger disk",
        )


def _drop_other_commits(model: Path, *, keep: Path) -> None:
    for path in model.iterdir():
        if path != keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _prune(model: Path, revision: str) -> None:
    try:
        folders = [path for path in (model / revision).rglob("*") if path.is_dir()]
        for folder in sorted(folders, reverse=True):  # those in a folder before it
            folder.rmdir()
        if (model / revision).exists():
            (model / revision).rmdir()
        (model / _LOCK).unlink(missing_ok=True)
        model.rmdir()
        model.parent.rmdir()
    except OSError:
        return  # something is left to be continued, or another process has come
