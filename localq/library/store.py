"""The model files: nothing outside the models folder is ever taken in or deleted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from localq.errors import LibraryError, StorageError, UsageError, storage_errors
from localq.library.filenames import component_problem, safe_component
from localq.messages import msg
from localq.partials import finish, partial_path, sweep_partials, sync_folder

__all__ = ["TRASH", "Store", "finish", "partial_path", "safe_component", "sweep_partials"]

TRASH = ".trash"
"""The folder under the root for what was removed: on the same disk as the models by nature."""

_BUSY = msg("close what uses it, then run the same command again")


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of finished models, `root`/<org>/<name>/<file>."""

    root: Path

    def folder_of(self, repo: str) -> Path:
        """Where the files of "org/name" (or of an old-style "name") go; UsageError: unsafe."""
        parts = repo.split("/")
        if len(parts) > 2:
            raise UsageError(
                msg("{repo!r} is not the name of a model", repo=repo[:120]),
                hint=msg("write it as org/name"),
            )
        if parts[0].casefold() == TRASH:
            raise UsageError(msg("{repo!r}: localq keeps that name for itself", repo=repo[:120]))
        return self.root.joinpath(*map(safe_component, parts))

    def admit(self, partial: Path, final: Path, *, replace: bool = False) -> None:
        """Take in a whole file from elsewhere on the same filesystem, in one step.

        Makes the folders it needs. Errors as `finish`, and LibraryError for a place outside.
        """
        self.relative(final)
        folder = final.parent
        while True:
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                finish(partial, final, replace=replace)
                break
            except StorageError:
                # A removal in another process may have cleared the still empty folder away.
                if folder.is_dir() or not partial.is_file():
                    raise
        with storage_errors(folder):
            while folder != self.root.parent and folder != folder.parent:
                folder = folder.parent
                sync_folder(folder)

    def measure(self, files: Iterable[Path], *, outside: bool = False) -> dict[PurePath, int]:
        """Each file's place and its bytes; see `place`.

        LibraryError for a file that is missing, unfinished, no plain file, or in the wrong place.
        """
        sizes: dict[PurePath, int] = {}
        for file in files:
            place = self.place(file, outside=outside)
            try:
                # Other programs' folders may hold links, as the cache of Hugging Face's does.
                status = file.stat() if outside else file.lstat()
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise LibraryError(
                    msg("{file}: cannot enter the library: {reason}", file=file, reason=reason)
                ) from error
            if not stat.S_ISREG(status.st_mode):
                raise LibraryError(
                    msg("{file}: cannot enter the library: it is not a plain file", file=file)
                )
            if file.suffix == ".partial":
                raise LibraryError(
                    msg("{file}: cannot enter the library: it is unfinished", file=file)
                )
            sizes[place] = status.st_size
        return sizes

    def place(self, path: Path, *, outside: bool) -> PurePath:
        """How the catalogue writes `path`: relative to the root, or (`outside`) absolute.

        LibraryError for one that is on the other side.
        """
        if not outside:
            return self.relative(path)
        real = path.parent.resolve() / path.name
        if not path.is_absolute() or real.is_relative_to(self.root.resolve()):
            raise LibraryError(msg("{path}: is inside localq's own folder", path=path))
        return path

    def relative(self, path: Path) -> PurePosixPath:
        """Where `path` lies under the root; LibraryError if any part of it leads outside."""
        real_root = self.root.resolve()
        real = path.parent.resolve() / path.name
        try:
            place = PurePosixPath(path.relative_to(self.root).as_posix())
        except ValueError:  # the same folder under another name, as /tmp is /private/tmp on macOS
            if not real.is_relative_to(real_root):
                raise _outside(path) from None
            place = PurePosixPath(real.relative_to(real_root).as_posix())
        if not place.parts or not real.is_relative_to(real_root):
            raise _outside(path)
        if place.parts[0].casefold() == TRASH:
            raise LibraryError(msg("{path}: refused: it is in the trash", path=path))
        for part in place.parts:
            if problem := component_problem(part):
                raise LibraryError(
                    msg(
                        "{path}: not a name the library gives: {problem}",
                        path=path,
                        problem=problem,
                    )
                )
        return place

    def owned(self, places: Iterable[str]) -> list[Path]:
        """The files the catalogue names, every one of them checked before any is touched.

        LibraryError if one is written or linked so that it leads outside, or is a folder.
        """
        files: list[Path] = []
        for place in places:
            file = self.root / place
            self.relative(file)
            if file.is_dir() and not file.is_symlink():
                raise LibraryError(
                    msg(
                        "{file}: not deleted: the catalogue says file, but it is a folder",
                        file=file,
                    )
                )
            files.append(file)
        return files

    def delete(self, files: Iterable[Path]) -> None:
        """Delete files that `owned` returned, then the folders left empty.

        Files that are gone already are no matter. StorageError where the system refuses.
        """
        folders: set[Path] = set()
        for file in files:
            folders.add(file.parent)
            try:
                file.unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise StorageError(
                    msg("{file}: cannot be deleted: {reason}", file=file, reason=reason), hint=_BUSY
                ) from error
        for folder in folders:
            self.prune(folder)

    def trash_folder(self, number: int) -> Path:
        """Where the files of the trash's entry `number` lie, each at its place under the root."""
        return self.root / TRASH / str(number)

    def trashed(self, number: int, places: Iterable[str]) -> list[Path]:
        """As `owned`, for the files of the trash's entry `number`."""
        folder = self.trash_folder(number)
        real_folder = self.root.resolve() / TRASH / str(number)
        files: list[Path] = []
        for place in places:
            self.relative(self.root / place)
            file = folder / place
            if file.parent.resolve() != real_folder.joinpath(place).parent:
                raise _outside(file)
            if file.is_dir() and not file.is_symlink():
                raise LibraryError(
                    msg("{file}: the catalogue says file, but it is a folder", file=file)
                )
            files.append(file)
        return files

    def move(self, source: Path, target: Path) -> None:
        """Rename a file on the same disk; LibraryError where the target is taken.

        Nobody else may write there meanwhile: callers hold the catalogue's only writer.
        """
        if os.path.lexists(target):
            raise LibraryError(
                msg("{target}: is there already", target=target),
                hint=msg("localq doctor looks into it"),
            )
        try:
            with storage_errors(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            sync_folder(target.parent)
            sync_folder(source.parent)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StorageError(
                msg("{source}: cannot be moved: {reason}", source=source, reason=reason), hint=_BUSY
            ) from error
        finally:
            self.prune(target.parent)
        self.prune(source.parent)

    def prune(self, folder: Path) -> None:
        """Take `folder`, and those above it, away where they are empty; never the root."""
        while folder != self.root and folder.is_relative_to(self.root):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return  # not empty, or not ours to delete
            folder = folder.parent


def _outside(path: Path) -> LibraryError:
    return LibraryError(
        msg("{path}: refused: it is outside the folder of models", path=path),
        hint="localq list shows the models",
    )
