"""What unfinished jobs left on disk, to be gone on with or to be deleted."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from localq.errors import LocalqError
from localq.hub.spec import parse_spec
from localq.hub.staging import staging_folder
from localq.jobs import JobStore
from localq.library import Library
from localq.services.jobs.kinds import Request, request_of
from localq.services.library.import_models import ImportRequest, destinations
from localq.services.library.locate import locate_checkpoint, locate_source
from localq.services.make.convert import ConvertRequest
from localq.services.make.destination import target_of
from localq.services.make.lossless import own_type
from localq.services.make.quantize import QuantizeRequest
from localq.services.pull.pull import PullRequest
from localq.services.pull.stream import PullAsRequest

__all__ = ["claimed_folders", "drop_partials"]


def claimed_folders(library: Library) -> set[Path]:
    """Folders of models in which unfinished jobs may have left whole files that no entry has.

    The jobs go on with these files, or replace them.
    """
    folders: set[Path] = set()
    for job in JobStore(library.paths).jobs():
        if job.state.is_resumable:
            with suppress(LocalqError):  # what it was made from is gone: nobody goes on with it
                folders |= _folders(library, request_of(job))
    return folders


def drop_partials(library: Library, request: Request) -> int:
    """Delete what the request left half-made, which nobody works on; the bytes freed.

    HubError where another localq is at it.
    """
    match request:
        case PullRequest(spec=str(spec)):
            return _drop_download(library, parse_spec(spec).repo)
        case ImportRequest():
            copies = {library.paths.partial / file.name for file in _imported(library, request)}
            return sum(_delete(file) for copy in copies for file in _resumables(copy))
        case PullAsRequest(spec=spec, type=type_):
            target = library.gguf_path(parse_spec(spec).repo, type_.name)
            return sum(map(_delete, _resumables(target)))
        case QuantizeRequest() | ConvertRequest():
            try:
                target = _target(library, request)
            except LocalqError:
                return 0  # the model is gone, and with it the folder of its files
            return sum(map(_delete, _resumables(target)))
        case _:
            return 0


def _folders(library: Library, request: Request) -> set[Path]:
    match request:
        case PullRequest(spec=str(spec)) | PullAsRequest(spec=spec):
            return {library.checkpoint_folder(parse_spec(spec).repo)}
        case QuantizeRequest() | ConvertRequest():
            return {_target(library, request).parent}
        case ImportRequest():
            return {file.parent for file in _imported(library, request)}
        case _:
            return set()


def _imported(library: Library, request: ImportRequest) -> set[Path]:
    try:
        return destinations(library, request)
    except LocalqError:
        return set()  # it is not there any more


def _drop_download(library: Library, repo: str) -> int:
    folder = library.paths.partial / repo
    if not folder.is_dir():
        return 0
    before = _size(folder)
    with staging_folder(library.paths.partial, repo, "none"):
        pass  # what is not of the commit that is asked for goes
    return before - _size(folder)


def _target(library: Library, request: QuantizeRequest | ConvertRequest) -> Path:
    if isinstance(request, QuantizeRequest):
        source = locate_source(library, request.model)
        return target_of(library, source, request.type, request.output, force=True)
    source = locate_checkpoint(library, request.model)
    type_ = request.type or own_type(source)
    return target_of(library, source, type_, request.output, force=True)


def _resumables(target: Path) -> list[Path]:
    """The unfinished files that are to become `target`, or one of its parts, and their journals."""
    name = re.compile(
        rf"\.{re.escape(target.stem)}(-\d{{5}}-of-\d{{5}})?{re.escape(target.suffix)}"
        r"\.[0-9a-f]{16}\.resumable(\.journal)?"
    )
    with suppress(FileNotFoundError):
        return [path for path in target.parent.iterdir() if name.fullmatch(path.name)]
    return []


def _delete(path: Path) -> int:
    size = path.lstat().st_size
    path.unlink()
    return size


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
