"""The model files: nothing outside the models folder is ever taken in or deleted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localq.errors import LibraryError, StorageError, UsageError, storage_errors
from localq.library.filenames import component_problem, safe_component
from localq.partials import finish, partial_path, sweep_partials, sync_folder

__all__ = ["Store", "finish", "partial_path", "safe_component", "sweep_partials"]


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of finished models, `root`/<org>/<name>/<file>."""

    root: Path

    def folder_of(self, repo: str) -> Path:
        """Where the files of "org/name" (or of an old-style "name") go; UsageError: unsafe."""
        parts = repo.split("/")
        if len(parts) > 2:
            raise UsageError(
                f"{repo[:120]!r} is not the name of a model", hint="write it as org/name"
            )
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

    def measure(self, files: Iterable[Path]) -> dict[PurePosixPath, int]:
        """Each file's place under the root and its bytes.

        LibraryError for a file that is missing, unfinished, no plain file, or outside.
        """
        sizes: dict[PurePosixPath, int] = {}
        for file in files:
            place = self.relative(file)
            try:
                status = file.lstat()
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise LibraryError(f"{file}: cannot enter the library: {reason}") from error
            if not stat.S_ISREG(status.st_mode):
                raise LibraryError(f"{file}: cannot enter the library: it is not a plain file")
            if file.suffix == ".partial":
                raise LibraryError(f"{file}: cannot enter the library: it is unfinished")
            sizes[place] = status.st_size
        return sizes

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
        for part in place.parts:
            if problem := component_problem(part):
                raise LibraryError(f"{path}: not a name the library gives: {problem}")
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
                    f"{file}: not deleted: the catalogue says file, but it is a folder"
                )
            files.append(file)
        return files

    def delete(self, files: Iterable[Path]) -> int:
        """Delete files that `owned` returned, then the folders left empty; the bytes freed.

        Files that are gone already count nothing. StorageError where the system refuses.
        """
        freed = 0
        folders: set[Path] = set()
        for file in files:
            folders.add(file.parent)
            try:
                status = file.lstat()
                file.unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise StorageError(
                    f"{file}: cannot be deleted: {reason}",
                    hint="close what uses it, then run the same command again",
                ) from error
            if status.st_nlink == 1 and stat.S_ISREG(status.st_mode):
                freed += status.st_size
        for folder in folders:
            self._prune(folder)
        return freed

    def _prune(self, folder: Path) -> None:
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
        f"{path}: refused: it is outside the folder of models", hint="localq list shows the models"
    )
