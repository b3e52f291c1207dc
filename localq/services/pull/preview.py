"""What a pull would do, without doing it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass

from localq.events import Emit
from localq.hub.staging import partial_folder
from localq.library import Library, Model
from localq.services.make.destination import existing_folder
from localq.services.pull.pull import PullRequest, prepare
from localq.services.pull.stage import present_bytes

__all__ = ["PlannedFile", "PullPreview", "preview_pull"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as the repository calls it; of its bytes, those that are here already."""

    path: str
    size_bytes: int
    present_bytes: int


@dataclass(frozen=True, slots=True)
class PullPreview:
    """What a pull would bring. Of a model for which nobody was asked, no files are listed.

    `download_bytes` is the most that would come over the network; `free_bytes` is what the disk
    has now.
    """

    name: str
    repo: str | None
    revision: str | None
    already_there: bool
    files: tuple[PlannedFile, ...]
    total_bytes: int
    download_bytes: int
    free_bytes: int


def preview_pull(
    library: Library, request: PullRequest, emit: Emit, cancel: threading.Event
) -> PullPreview:
    """Ask the Hub what `pull` would bring. Nothing is written."""
    prepared = prepare(library, request, emit, cancel)
    free = shutil.disk_usage(existing_folder(library.paths.models)).free
    if isinstance(prepared, Model):
        origin = prepared.source
        size = prepared.size_bytes
        return PullPreview(prepared.name, origin.repo, origin.revision, True, (), size, 0, free)
    source, plan = prepared
    earlier = plan.earlier(library)
    folder = partial_folder(library.paths.partial, source.repo, source.revision)
    files = tuple(
        PlannedFile(
            file.path,
            file.size,
            present_bytes(plan, folder, final, file, cancel, same_revision=earlier is not None),
        )
        for final, file in plan.files.items()
    )
    return PullPreview(
        name=plan.name,
        repo=source.repo,
        revision=plan.origin.revision,
        already_there=earlier is not None and plan.is_whole(),
        files=files,
        total_bytes=plan.size_bytes,
        download_bytes=sum(file.size_bytes - file.present_bytes for file in files),
        free_bytes=free,
    )
