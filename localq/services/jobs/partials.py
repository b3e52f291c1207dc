"""What unfinished jobs left on disk, to be gone on with or to be deleted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from localq.errors import LocalqError
from localq.jobs import JobStore
from localq.library import Library
from localq.services.jobs.kinds import Request, kind_of, request_of

__all__ = ["claimed_folders", "drop_partials"]


def claimed_folders(library: Library) -> set[Path]:
    """Folders of models in which unfinished jobs may have left whole files that no entry has.

    The jobs go on with these files, or replace them.
    """
    folders: set[Path] = set()
    for job in JobStore(library.paths).jobs():
        if job.state.is_resumable:
            with suppress(LocalqError):  # what it was made from is gone: nobody goes on with it
                request = request_of(job)
                folders |= kind_of(request).folders(library, request)
    return folders


def drop_partials(library: Library, request: Request) -> int:
    """Delete what the request left half-made, which nobody works on; the bytes freed.

    HubError where another localq is at it.
    """
    return kind_of(request).drop_partials(library, request)
