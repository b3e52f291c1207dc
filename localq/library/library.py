"""The library as the rest of localq sees it: find a model, enter one, remove one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from localq.database import Database
from localq.errors import LibraryError, NotFoundError, StorageError
from localq.library import names
from localq.library.catalogue import Catalogue
from localq.library.filenames import component_problem, safe_component
from localq.library.model import Model, Removed
from localq.library.store import Store
from localq.paths import Paths

__all__ = ["Library"]


class Library:
    """The models of one localq home.

    Any thread or process may use the same home at the same time. Making a Library and reading
    from it create nothing on disk; nothing stays open between two calls.
    """

    def __init__(
        self, paths: Paths | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.paths = paths or Paths.from_environment()
        self._clock = clock
        self._catalogue = Catalogue(Database(self.paths.database), self.paths.models)
        self._store = Store(self.paths.models)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to close; the block says for how long the library is used."""

    def models(self) -> list[Model]:
        """All entries by name, those whose files have vanished too."""
        return self._catalogue.models()

    def find(self, name: str) -> Model:
        """The model `name` means; see `localq.library.names` for what may be left out.

        NotFoundError, or LibraryError where the name may mean several.
        """
        return names.find(self.models(), name)

    def find_gguf(self, name: str | None) -> Model:
        """The GGUF `name` means, of several quantizations the one used last; None: of all."""
        return names.find_gguf(self.models(), name)

    def find_checkpoint(self, name: str | None) -> Model:
        """The checkpoint `name` means, or the named GGUF was made from; None: of the last used."""
        return names.find_checkpoint(self.models(), name)

    def last_used(self) -> Model | None:
        """The model pulled, made or used last."""
        return names.newest(self.models())

    def touch(self, name: str) -> None:
        """Mark a model as used now. Where the library cannot be written, it stays as it was."""
        model = self.find(name)
        try:
            with self._catalogue.write() as transaction:
                transaction.touch(model.name, self._clock())
        except StorageError:
            return  # a full or read-only disk must not keep anyone from using the model

    def add(self, model: Model, files: Sequence[Path]) -> Model:
        """Enter a model with all its finished files, which lie inside `paths.models`.

        An entry of the same name gives way; files of it that the new one lacks are deleted.
        LibraryError for files that are missing, outside or another model's, and for entries
        that contradict themselves. Returns the entry as it now stands.
        """
        _check_entry(model)
        with self._catalogue.write() as transaction:
            # Inside the transaction, so that no removal can come between the look and the entry.
            sizes = self._store.measure(files)
            place = self._store.relative(model.path)
            within = place in sizes or all(place in file.parents for file in sizes)
            if not sizes or not within:
                raise LibraryError(f"{model.name}: its files do not lie at {model.path}")
            for file in sizes:
                owner = transaction.owner(file)
                if owner is not None and owner.casefold() != model.name.casefold():
                    raise LibraryError(f"{self.paths.models / file}: belongs to {owner}")
            outdated = set(transaction.files(model.name)) - {str(file) for file in sizes}
            stale = self._store.owned(sorted(outdated))
            transaction.put(model, place, sizes)
            entered = transaction.get(model.name)
            assert entered is not None
            with suppress(StorageError):  # in use: rather a file too many than no new entry
                self._store.delete(stale)
        return entered

    def find_removable(self, name: str) -> Model:
        """The model that `remove` would take; LibraryError where `name` is a path."""
        try:
            return self.find(name)
        except NotFoundError:
            if names.looks_like_path(name):
                raise LibraryError(
                    f"{name!r} is a path; localq removes only models of its library",
                    hint="localq list shows their names",
                ) from None
            raise

    def remove(self, name: str) -> Removed:
        """Delete exactly the files the catalogue holds for a model, then folders left empty.

        LibraryError, and nothing deleted, where `name` is a path or a file lies elsewhere.
        StorageError where a file cannot be deleted: the entry stays, and can be removed again.
        """
        wanted = self.find_removable(name)
        with self._catalogue.write() as transaction:
            model = transaction.get(wanted.name)
            if model is None:
                raise NotFoundError(f"{wanted.name}: removed by another localq just now")
            files = self._store.owned(transaction.files(model.name))
            transaction.delete(model.name)
            # Before the commit: a crash here leaves an entry that can be removed again, while
            # the other order would leave files that nobody owns.
            freed = self._store.delete(files)
        return Removed(model, freed)

    def admit(self, partial: Path, final: Path, *, replace: bool = False) -> None:
        """Move a finished file into `paths.models` in one step that survives a power cut.

        `partial` lies on the same filesystem, as everything under `paths.partial` does. It is
        then ready for `add`. LibraryError where `final` is taken (unless `replace`) or outside.
        """
        self._store.admit(partial, final, replace=replace)

    def checkpoint_folder(self, repo: str) -> Path:
        """Where the checkpoint "org/name" goes. UsageError if that cannot be a folder's name."""
        return self._store.folder_of(repo)

    def gguf_path(self, repo: str, quant: str) -> Path:
        """Where the GGUF "org/name:QUANT" goes. UsageError if that cannot be a file's name."""
        folder = self._store.folder_of(repo)
        return folder / safe_component(f"{folder.name}-{safe_component(quant)}.gguf")


def _check_entry(model: Model) -> None:
    """LibraryError unless the entry can be named, listed and stored."""
    base, colon, quant = model.name.partition(":")
    parts = [*base.split("/"), *([quant] if colon else [])]
    if base.count("/") > 1 or any(component_problem(part) for part in parts):
        raise LibraryError(f"{model.name!r} is not a name for a model", hint="write it as org/name")
    # These come out of files from anywhere, and end up on a terminal.
    texts = (model.quant, model.architecture, model.source.repo, model.source.revision)
    if not all(text is None or text.isprintable() for text in texts):
        raise LibraryError(f"{model.name}: its description holds control characters")
    if not (0 <= model.parameters < 2**63 and 0 <= model.size_bytes < 2**63):
        raise LibraryError(f"{model.name}: its sizes cannot be right")
