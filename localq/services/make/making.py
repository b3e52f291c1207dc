"""How a service makes GGUF files: whole or not at all, by one process, and then entered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import Cancelled, HubError, LocalqError, StorageError, storage_errors
from localq.formats.types import QuantType
from localq.hub.source import AGAIN, CONTINUES
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.messages import msg
from localq.services.make.destination import require_space

if TYPE_CHECKING:
    from localq.quantize.journal import Journal
    from localq.quantize.layout import FileLayout

__all__ = ["FileToMake", "Making", "Unfinished", "enter_gguf", "make_whole"]


@dataclass(frozen=True, slots=True)
class FileToMake:
    """What goes to `path`; `key` stands for all that its content depends on."""

    path: Path
    layout: FileLayout
    key: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file while it is made: under the name `partial`, its finished parts in the journal."""

    layout: FileLayout
    final: Path
    partial: Path
    journal: Journal


@dataclass(frozen=True, slots=True)
class Making:
    """Files on their way, which get their names by `finish`."""

    files: Sequence[Unfinished]
    replace: bool

    def finish(self) -> None:
        """Give the files, which are whole now, their names."""
        from localq.partials import finish

        for file in self.files:
            finish(file.partial, file.final, replace=self.replace)


@contextmanager
def make_whole(
    library: Library,
    files: Sequence[FileToMake],
    *,
    inside: bool,
    replace: bool,
    worth_keeping: tuple[type[BaseException], ...] = (Cancelled, KeyboardInterrupt),
    elsewhere: str | None = None,
) -> Iterator[Making]:
    """The block writes the files, finishes them, and may enter them into the library.

    They lie in one folder, which is made if they are `inside` the library; without `replace` a
    file that is there is left alone, LibraryError. What was noted as finished when the block ends
    by one of `worth_keeping`, or is killed, is there the next time, also in files that had their
    names but were not entered; after other errors all that has no name goes, and so does a folder
    that holds nothing. The error says whether the same command would go on or begin anew.
    StorageError, with the hint `elsewhere` instead of its own, where the disk has no room or
    cannot be written; LocalqError where another process is at it.
    """
    from localq.partials import journal_path, resumable_path, sweep_partials
    from localq.quantize.journal import Journal

    folder = files[0].path.parent
    begun: list[Unfinished] = []
    for file in files:
        # A partial name holds the content's key: no other request takes this work for its own.
        partial = resumable_path(file.path, file.key)
        journal = Journal(journal_path(partial), file.key)
        begun.append(Unfinished(file.layout, file.path, partial, journal))
    with _told_elsewhere(elsewhere), storage_errors(files[0].path), ExitStack() as stack:
        if inside:
            library.trash.settle()  # what a killed removal left here is not to be written over
            folder.mkdir(parents=True, exist_ok=True)
            stack.callback(_drop_empty, folder, library.paths.models)
        sweep_partials(folder)
        with _Lock(library.paths.cache / "locks", begun[0].partial):
            if inside:
                _take_back(library, begun)
            size = sum(file.layout.size_bytes for file in files)
            require_space(folder, size, [one.partial for one in begun])
            try:
                yield Making(begun, replace)
            except BaseException as error:
                holds_work = any(one.journal.holds_work() for one in begun)
                kept = isinstance(error, worth_keeping) and holds_work
                if not kept:
                    for one in begun:
                        one.partial.unlink(missing_ok=True)
                        one.journal.remove()
                _say_what_stays(error, kept=kept)
                raise
            for one in begun:
                one.journal.remove()


def _say_what_stays(error: BaseException, *, kept: bool) -> None:
    if isinstance(error, Cancelled):
        error.message = (
            "stopped; the same command goes on from here"
            if kept
            else "stopped; nothing was finished yet: the same command begins anew"
        )
        error.args = (error.message,)
    elif kept and isinstance(error, HubError) and error.hint == AGAIN:
        error.hint = CONTINUES


@contextmanager
def _told_elsewhere(elsewhere: str | None) -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        error.hint = elsewhere or error.hint
        raise


def _drop_empty(folder: Path, root: Path) -> None:
    """Delete the folder, and those around it, where they hold nothing."""
    with suppress(OSError):  # they do
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _take_back(library: Library, begun: Sequence[Unfinished]) -> None:
    """What a killed run had given its name but not entered is unfinished again."""
    entered = {path for sizes in library.all_sizes().values() for path in sizes}
    for one in begun:
        if one.final in entered or one.partial.exists() or not one.journal.holds_work():
            continue
        if one.final.is_file() and one.final.stat().st_size == one.layout.size_bytes:
            one.final.rename(one.partial)


def enter_gguf(
    library: Library,
    repo: str,
    type_: QuantType,
    files: Mapping[Path, str],
    *,
    architecture: str,
    parameters: int,
    source: ModelSource,
) -> Model:
    """Enter the files that were made of `repo`, with their SHA-256, into the library."""
    from localq.library.hashes import SaidBy

    paths = list(files)
    entry = Model.new(
        f"{repo}:{type_.name}",
        ModelFormat.GGUF,
        type_.name,
        paths[0],
        architecture=architecture,
        parameters=parameters,
        size_bytes=sum(path.stat().st_size for path in paths),
        source=source,
    )
    return library.add(entry, paths, files, SaidBy.MADE)


class _Lock:
    """Keeps a second process from writing the same file; gone with the process that holds it."""

    def __init__(self, folder: Path, partial: Path) -> None:
        from filelock import FileLock

        name = sha256(os.fsencode(partial.resolve())).hexdigest()[:32]
        self._path = folder / f"{name}.lock"
        self._lock = FileLock(self._path)

    def __enter__(self) -> None:
        from filelock import Timeout

        with storage_errors(self._path, hint=msg("let LOCALQ_HOME name another folder")):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                raise LocalqError(
                    msg("another localq is making this very file"), hint=msg("wait for it to end")
                ) from None

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        self._lock.release()
