"""Take in models that are on this machine already, without a second copy of them.

A file becomes a hard link where it is on the same filesystem, else a reflink, else it stays where
it is and the library refers to it. A hard-linked file is one file with two names: if the other
program changes it in place, the library's model changes too, which `localq verify` detects.
"""

from __future__ import annotations

import filecmp
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localq.errors import (
    Cancelled,
    LibraryError,
    LocalqError,
    NotFoundError,
    UsageError,
)
from localq.events import Emit, Note, Started
from localq.formats.gguf import read_gguf
from localq.library import Library, Model
from localq.library.adoptions import Way
from localq.library.foreign import TOOLS, ForeignModel, Skipped, find_models
from localq.messages import msg
from localq.services.library.adopt import adopt, end_move
from localq.services.library.candidate import ImportCandidate, describe, found_at
from localq.services.library.import_projector import holds_projector, import_projector
from localq.services.library.projector import find_projector

__all__ = ["ImportRequest", "ImportResult", "Imported", "destinations", "import_models"]


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """Either `paths`, or what the program `tool` holds: `names` of it, or `everything`.

    With a tool and neither of both, nothing is taken: the result lists what there is. `copy`
    makes copies, `move` takes the files away from where they are; `name` is for one model.
    """

    paths: tuple[Path, ...] = ()
    tool: str | None = None
    names: tuple[str, ...] = ()
    everything: bool = False
    name: str | None = None
    copy: bool = False
    move: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """One model that is, or would be, taken in."""

    model: Model
    source: str
    """Its path, or what the other program calls it."""
    way: Way | None
    """None: not known before it is tried (a dry run), or it is in the library already."""
    saved_bytes: int
    """What a copy would have taken of the disk."""
    already_there: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportResult:
    imported: tuple[Imported, ...]
    skipped: tuple[Skipped, ...]
    taken: bool
    """False: only listed, as a dry run or a tool without names does."""

    @property
    def saved_bytes(self) -> int:
        return sum(one.saved_bytes for one in self.imported)


def import_models(
    library: Library, request: ImportRequest, emit: Emit, cancel: threading.Event
) -> ImportResult:
    """Find what is asked for, check it, and enter it into the library.

    Of several models those that cannot be taken are skipped, with the reason; of one path the
    reason is raised.
    """
    _check(request)
    listing = request.dry_run or (
        request.tool is not None and not (request.names or request.everything)
    )
    if not listing:
        library.trash.settle()  # what a killed removal left in the way
    imported: list[Imported] = []
    skipped: list[Skipped] = []
    alone = len(request.paths) == 1
    known = _known_inodes(library)
    # Projectors last: their models may come with them.
    every = sorted(_found(request), key=_is_projector)
    for found in every:
        if cancel.is_set():
            raise Cancelled(msg("stopped; what was imported before stays"))
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        try:
            if _is_projector(found):
                if not listing:
                    imported.append(_take_projector(library, found, request, cancel))
                continue
            if request.move and not listing and (held := _owner(found, known)):
                end_move(library, found, held)
                imported.append(Imported(held, found.label, None, 0, already_there=True))
                continue
            candidate = describe(library, found, request.name)
            if held := _held(library, candidate, known):
                imported.append(Imported(held, found.label, None, 0, already_there=True))
            elif listing:
                imported.append(Imported(candidate.model, found.label, None, 0, notes=found.notes))
            else:
                inodes = [_inode(file.real) for file in found.files]
                projector = _projector_of(found)
                taken = _take(library, candidate, request, emit, cancel)
                if projector is not None and not taken.model.external:
                    taken = _with_projector(library, taken, projector, request, emit, cancel)
                known |= dict.fromkeys(inodes, taken.model)
                imported.append(taken)
        except Cancelled:
            raise
        except LocalqError as error:
            if alone:
                raise
            skipped.append(Skipped(found.label, error.message))
    if request.names and not imported and not skipped:
        raise NotFoundError(
            msg("{tool} has no {names}", tool=request.tool, names=", ".join(request.names)),
            hint=msg("localq import --from {tool} lists what it has", tool=request.tool),
        )
    return ImportResult(tuple(imported), tuple(skipped), not listing)


def _is_projector(found: ForeignModel | Skipped) -> bool:
    return isinstance(found, ForeignModel) and holds_projector(found.files[0].real)


def _take_projector(
    library: Library, found: ForeignModel, request: ImportRequest, cancel: threading.Event
) -> Imported:
    path = found.files[0].path
    model, way = import_projector(
        library, path, request.name, cancel, copy=request.copy, move=request.move
    )
    saved = 0 if way in (None, Way.COPY, Way.MOVE) else found.size_bytes
    return Imported(model, found.label, way, saved, already_there=way is None)


def _projector_of(found: ForeignModel) -> Path | None:
    """What lies beside a model that is taken in, and lets it see."""
    first = found.files[0].path
    if found.folder is not None:
        return None
    try:
        return find_projector(read_gguf(first))
    except LocalqError:
        return None


def _with_projector(
    library: Library,
    taken: Imported,
    projector: Path,
    request: ImportRequest,
    emit: Emit,
    cancel: threading.Event,
) -> Imported:
    try:
        model, _ = import_projector(library, projector, taken.model.name, cancel, copy=request.copy)
    except Cancelled:
        raise
    except LocalqError as error:  # the model is there, and writes
        emit(Note(error.message, warning=True))
        return taken
    emit(Note(msg("with its projector for pictures: {name}", name=projector.name)))
    return replace(taken, model=model)


def destinations(library: Library, request: ImportRequest) -> set[Path]:
    """The files of the library that `import_models` would make."""
    files: set[Path] = set()
    for found in _found(request):
        if isinstance(found, ForeignModel):
            with suppress(LocalqError):  # it would be skipped
                files.update(describe(library, found, request.name).targets.values())
    return files


def _check(request: ImportRequest) -> None:
    if bool(request.paths) == bool(request.tool):
        raise UsageError(
            msg("import what? Give files or folders, or --from a program"),
            hint=msg(
                "localq import FILE.gguf, or: localq import --from {next}", next=next(iter(TOOLS))
            ),
        )
    if request.copy and request.move:
        raise UsageError(msg("--copy and --move exclude each other"))
    if request.move and request.tool:
        raise UsageError(
            msg("--move would break {tool}, whose files these are", tool=request.tool),
            hint=msg("leave it out: a link takes no space"),
        )


def _found(request: ImportRequest) -> Iterator[ForeignModel | Skipped]:
    if request.tool is None:
        seen: set[Path] = set()
        for path in request.paths:
            try:
                found = found_at(path)
            except LocalqError as error:
                if len(request.paths) == 1:
                    raise
                yield Skipped(str(path), error.message)
                continue
            if found.files[0].real not in seen:  # another shard of the same model
                yield found
            seen.add(found.files[0].real)
        return
    wanted = [name.casefold() for name in request.names]
    for model in find_models(request.tool):
        label = model.label.casefold()
        repo = (model.repo or "").casefold() if isinstance(model, ForeignModel) else ""
        if not wanted or any(
            name in (label, repo) or label.startswith((f"{name}:", f"{name}/")) for name in wanted
        ):
            yield model


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _known_inodes(library: Library) -> dict[tuple[int, int], Model]:
    """Which file on disk is which model's already."""
    known: dict[tuple[int, int], Model] = {}
    sizes = library.all_sizes()
    for model in library.models():
        for file in sizes.get(model.name, {}):
            with suppress(OSError):
                known[_inode(file)] = model
    return known


def _owner(found: ForeignModel, known: Mapping[tuple[int, int], Model]) -> Model | None:
    """The one model that has all these files, under names of its own."""
    holders = [known.get(_inode(file.real)) for file in found.files]
    names = {holder.name if holder else None for holder in holders}
    return holders[0] if len(names) == 1 else None


def _held(
    library: Library, candidate: ImportCandidate, known: Mapping[tuple[int, int], Model]
) -> Model | None:
    """The model that these very files are already; LibraryError where another has the name."""
    if owner := _owner(candidate.found, known):
        return owner
    name = candidate.model.name.casefold()
    for model in library.models():
        if model.name.casefold() != name:
            continue
        adopted = library.adoptions.of_model(model.name).values()
        sources = {str(file.real) for file in candidate.found.files}
        sizes = model.size_bytes == candidate.model.size_bytes
        if sizes and {adoption.source for adoption in adopted} == sources:
            return model  # a reflink or a copy of the same
        held, wanted = set(library.files(model)), set(candidate.targets.values())
        if held <= wanted and _has_content(candidate, held):
            # The same, though nobody noted where it came from; or what an import that was killed
            # had put there, entered by the doctor: that goes on.
            return model if held == wanted else None
        raise LibraryError(
            msg("{name}: there is another model of that name", name=model.name),
            hint=msg("choose a name with --name ORG/NAME[:QUANT]"),
        )
    return None


def _has_content(candidate: ImportCandidate, places: set[Path]) -> bool:
    """Whether the candidate's files for these places are what lies there, byte for byte."""
    try:
        return all(
            filecmp.cmp(real, to, shallow=False)
            for real, to in candidate.targets.items()
            if to in places
        )
    except OSError:
        return False


def _take(
    library: Library,
    candidate: ImportCandidate,
    request: ImportRequest,
    emit: Emit,
    cancel: threading.Event,
) -> Imported:
    found = candidate.found
    emit(Started(msg("importing {name}", name=candidate.model.name)))
    for note in found.notes:
        emit(Note(note))
    model, way = adopt(library, candidate, emit, cancel, copy=request.copy, move=request.move)
    saved = 0 if way in (Way.COPY, Way.MOVE) else found.size_bytes
    return Imported(model, found.label, way, saved, notes=found.notes)
