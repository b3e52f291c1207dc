"""Take a projector (mmproj*.gguf) into the library, as a file of the model that it belongs to."""

from __future__ import annotations

import filecmp
import threading
from pathlib import Path

from localq.errors import LibraryError, LocalqError, UsageError, storage_errors
from localq.formats.gguf import GGUFFile, read_gguf
from localq.formats.projector import is_projector, read_projector
from localq.library import Library, Model
from localq.library.adoptions import Adoption, Way
from localq.library.filenames import component_problem
from localq.library.linking import copy_file, hard_link, reflink
from localq.messages import msg
from localq.partials import partial_path
from localq.services.library.names import quant_of
from localq.services.library.projector import find_projector, projector_path

__all__ = ["holds_projector", "import_projector"]


def holds_projector(path: Path) -> bool:
    """Whether a file is a projector."""
    try:
        return path.is_file() and is_projector(read_gguf(path))
    except LocalqError:
        return False


def import_projector(
    library: Library,
    path: Path,
    name: str | None,
    cancel: threading.Event,
    *,
    copy: bool = False,
    move: bool = False,
) -> tuple[Model, Way | None]:
    """Link, share, copy or move it to its model: `name`, else the only one that it fits. The entry
    as it then stands, and which way it went; None: it was there already.

    BadFileError, UnsupportedError where it is none for pictures; UsageError where it is not clear
    to which model it belongs; LibraryError where that lies outside the library.
    """
    file = read_projector(path)
    model = library.find_gguf(name) if name else _only_fitting(library, file)
    if model.external:
        raise LibraryError(
            msg("{name} lies outside the library, at {path}", name=model.name, path=model.path),
            hint=msg("put the projector into that folder: it is found there"),
        )
    there = find_projector(read_gguf(model.path))
    if there is not None and filecmp.cmp(there, path, shallow=False):
        return model, None
    type_ = quant_of(file, path)
    place = projector_path(model.path, type_ if component_problem(type_) is None else "")
    way = _bring(library, path, place, cancel, copy=copy, move=move)
    try:
        entered = library.add_file(model, place, adopted=Adoption("", way, str(path.resolve())))
    except LocalqError:
        place.unlink(missing_ok=True)
        raise
    if move:
        with storage_errors(path, hint=msg("it is in the library; delete it there")):
            path.unlink()
    return entered, way


def _only_fitting(library: Library, file: GGUFFile) -> Model:
    width = file.metadata.get("clip.vision.projection_dim")
    fitting = []
    for model in library.models():
        if model.format.is_runnable and not model.external and model.path.is_file():
            try:
                header = read_gguf(model.path)
            except LocalqError:
                continue
            there = find_projector(header)
            if there is not None and filecmp.cmp(there, file.path, shallow=False):
                return model
            wanted = header.metadata.get(f"{header.architecture}.embedding_length")
            if there is None and wanted == width:
                fitting.append(model)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(
            msg("{path}: no model of the library is one for it", path=file.path),
            hint=msg("import its model first, or name it: --name ORG/NAME:QUANT"),
        )
    names = ", ".join(sorted(model.name for model in fitting)[:6])
    raise UsageError(
        msg("{path}: could belong to {names}", path=file.path, names=names),
        hint=msg("say to which: --name ORG/NAME:QUANT"),
    )


def _bring(
    library: Library,
    path: Path,
    place: Path,
    cancel: threading.Event,
    *,
    copy: bool,
    move: bool,
) -> Way:
    folder = library.paths.partial
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    partial = partial_path(folder / place.name)
    try:
        if not copy and hard_link(path.resolve(), partial):
            way = Way.MOVE if move else Way.HARD_LINK
        elif not copy and reflink(path.resolve(), partial):
            way = Way.MOVE if move else Way.REFLINK
        else:
            copy_file(path, partial, cancel, lambda count: None)
            way = Way.MOVE if move else Way.COPY
        library.admit(partial, place, replace=True)
    finally:
        partial.unlink(missing_ok=True)
    return way
