"""The library as the rest of localq sees it: find a model, enter one, remove one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from localq.database import Database
from localq.errors import LibraryError, LocalqError, NotFoundError, StorageError
from localq.library import names
from localq.library.catalogue import Catalogue
from localq.library.filenames import component_problem, safe_component
from localq.library.model import Model, Removed
from localq.library.store import Store
from localq.library.transaction import Transaction
from localq.messages import msg
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.library.adoptions import Adoption, Adoptions
    from localq.library.hashes import Hashes, SaidBy
    from localq.library.labels import Labels
    from localq.library.trash import Trash

__all__ = ["Library"]

_TOUCH_SECONDS = 2.0


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

    def __exit__(self, *_: object) -> None:
        """Nothing to close; the block says for how long the library is used."""

    def models(self) -> list[Model]:
        """All entries by name, those whose files have vanished too."""
        return self._catalogue.models()

    def revision(self) -> int:
        """A number that is another, within one process, once what `models` lists is."""
        with self._catalogue.read() as transaction:
            return transaction.revision() if transaction else 0

    def get(self, name: str) -> Model | None:
        """The model of exactly this full name, whatever its capitals."""
        with self._catalogue.read() as transaction:
            return transaction.get(name) if transaction else None

    def find(self, name: str) -> Model:
        """The model `name` means; see `localq.library.names` for what may be left out.

        NotFoundError, or LibraryError where the name may mean several.
        """
        return self._meant(name, lambda models: names.find(models, name))

    def find_gguf(self, name: str | None) -> Model:
        """The GGUF `name` means, of several quantizations the one used last; None: of all."""
        return self._meant(name, lambda models: names.find_gguf(models, name))

    def find_checkpoint(self, name: str | None) -> Model:
        """The checkpoint `name` means, or the named GGUF was made from; None: of the last used."""
        return self._meant(name, lambda models: names.find_checkpoint(models, name))

    def _meant(self, name: str | None, choose: Callable[[Sequence[Model]], Model]) -> Model:
        """What `choose` takes of those that the name could mean; of all, where that is none, for
        then it says what else there is."""
        if name is not None:
            with self._catalogue.read() as transaction:
                close = transaction.candidates(name) if transaction else []
            with suppress(NotFoundError):
                return choose(close)
        return choose(self.models())

    def last_used(self) -> Model | None:
        """The model pulled, made or used last."""
        with self._catalogue.read() as transaction:
            return transaction.newest() if transaction else None

    def touch(self, name: str) -> LocalqError | None:
        """Mark a model as used now; why not, where the library cannot be written within a moment:
        a full or read-only disk, or another program, must keep nobody from using the model."""
        model = self.find(name)
        try:
            with self._catalogue.write(_TOUCH_SECONDS) as transaction:
                transaction.touch(model.name, self._clock())
        except (LibraryError, StorageError) as error:
            return error
        return None

    @property
    def trash(self) -> Trash:
        """What was removed, and the way back."""
        from localq.library.trash import Trash

        return Trash(self._catalogue, self._store, self._clock)

    @property
    def labels(self) -> Labels:
        """Aliases, tags and notes."""
        from localq.library.labels import Labels

        return Labels(self._catalogue)

    @property
    def hashes(self) -> Hashes:
        """What the files' contents should be."""
        from localq.library.hashes import Hashes

        return Hashes(self._catalogue)

    @property
    def adoptions(self) -> Adoptions:
        """Which files came from another program's folder, and how."""
        from localq.library.adoptions import Adoptions

        return Adoptions(self._catalogue)

    def add(
        self,
        model: Model,
        files: Sequence[Path],
        hashes: Mapping[Path, str] | None = None,
        said_by: SaidBy | None = None,
        *,
        adopted: Mapping[Path, Adoption] | None = None,
    ) -> Model:
        """Enter a model with all its finished files, which lie inside `paths.models`.

        An entry of the same name gives way, but for what the user said of it; files of it that the
        new one lacks are deleted. `hashes` are SHA-256 of files that were just compared with them,
        or written, and `said_by` who knows them (the Hub); `adopted` says where files came from.
        The files of an external model lie outside instead.

        LibraryError for files that are missing, in the wrong place or another model's, and for
        entries that contradict themselves. Returns the entry as it now stands.
        """
        _check_entry(model)
        with self._catalogue.write() as transaction:
            # Inside the transaction, so that no removal can come between the look and the entry.
            sizes = self._store.measure(files, outside=model.external)
            place = self._store.place(model.path, outside=model.external)
            within = place in sizes or all(place in file.parents for file in sizes)
            if not sizes or not within:
                raise LibraryError(
                    msg("{name}: its files do not lie at {path}", name=model.name, path=model.path)
                )
            for file in sizes:
                owner = transaction.owner(file)
                if owner is not None and owner.casefold() != model.name.casefold():
                    raise LibraryError(
                        msg(
                            "{models}: belongs to {owner}",
                            models=self.paths.models / file,
                            owner=owner,
                        )
                    )
            stale = self._outdated(transaction, model, {str(file) for file in sizes})
            transaction.put(model, place, sizes)
            self._note_facts(transaction, model, hashes or {}, said_by, adopted or {})
            entered = transaction.get(model.name)
            assert entered is not None
            with suppress(StorageError):  # in use: rather a file too many than no new entry
                self._store.delete(stale)
        return entered

    def add_file(
        self, model: Model, file: Path, sha256: str | None = None, adopted: Adoption | None = None
    ) -> Model:
        """Give a model that is entered one more finished file; what is known of the others stays.

        `sha256` is that of what was just written, `adopted` says where the file came from.
        LibraryError for one that is missing, in the wrong place or another model's. Returns the
        entry as it now stands.
        """
        from localq.library.hashes import SaidBy

        with self._catalogue.write() as transaction:
            ((place, size),) = self._store.measure([file], outside=model.external).items()
            owner = transaction.owner(place)
            if owner is not None and owner.casefold() != model.name.casefold():
                raise LibraryError(msg("{models}: belongs to {owner}", models=file, owner=owner))
            transaction.add_file(model.name, place, size)
            hashes = {} if sha256 is None else {file: sha256}
            origins = {} if adopted is None else {file: adopted}
            self._note_facts(transaction, model, hashes, SaidBy.MADE, origins)
            entered = transaction.get(model.name)
            assert entered is not None
        return entered

    def _outdated(self, transaction: Transaction, model: Model, new: set[str]) -> list[Path]:
        """The files of an entry that gives way, if they are localq's to delete."""
        old = transaction.get(model.name)
        if old is None or old.external:
            return []
        return self._store.owned(sorted(set(transaction.files(model.name)) - new))

    def _note_facts(
        self,
        transaction: Transaction,
        model: Model,
        hashes: Mapping[Path, str],
        said_by: SaidBy | None,
        adopted: Mapping[Path, Adoption],
    ) -> None:
        if not hashes and not adopted:
            return
        from localq.library.adoptions import put_adoption
        from localq.library.hashes import SaidBy, put_hash, verified

        for path, sha256 in hashes.items():
            place = str(self._store.place(path, outside=model.external))
            known = verified(sha256, said_by or SaidBy.HUB, path.lstat(), self._clock())
            put_hash(transaction, place, known)
        for path, adoption in adopted.items():
            put_adoption(
                transaction, str(self._store.place(path, outside=model.external)), adoption
            )

    def find_removable(self, name: str) -> Model:
        """The model that `remove` would take; LibraryError where `name` is a path."""
        try:
            return self.find(name)
        except NotFoundError:
            if names.looks_like_path(name):
                raise LibraryError(
                    msg("{name!r} is a path; localq removes only models of its library", name=name),
                    hint=msg("localq list shows their names"),
                ) from None
            if any(
                entry.model.name.casefold() == names.in_full(name) for entry in self.trash.entries()
            ):
                raise NotFoundError(
                    msg("no model named {name!r} any more: it is in the trash", name=name),
                    hint=msg(
                        "localq restore {name} brings it back, localq trash empty deletes it",
                        name=name,
                    ),
                ) from None
            raise

    def remove(self, name: str) -> Removed:
        """Move a model and exactly the files the catalogue holds for it into the trash.

        LibraryError, and nothing moved, where `name` is a path or a file lies elsewhere.
        StorageError where a file cannot be moved: the model stays, and can be removed again.
        """
        self.trash.settle()
        return self.trash.put(self.find_removable(name).name)

    def files(self, model: Model) -> list[Path]:
        """The files the catalogue holds for a model, whether they are there or not."""
        return list(self.sizes(model))

    def sizes(self, model: Model) -> dict[Path, int]:
        """The same with the bytes that each had when it was entered."""
        with self._catalogue.read() as transaction:
            if transaction is None:
                return {}
            sizes = transaction.sizes(model.name)
        return {self.paths.models / place: size for place, size in sizes.items()}

    def all_sizes(self) -> dict[str, dict[Path, int]]:
        """What `sizes` says of every model, by name."""
        with self._catalogue.read() as transaction:
            found = transaction.all_sizes() if transaction else {}
        root = self.paths.models
        return {
            name: {root / place: size for place, size in sizes.items()}
            for name, sizes in found.items()
        }

    def place(self, path: Path) -> str:
        """How the catalogue writes a file's path: relative to the models folder if it is inside."""
        with suppress(LibraryError):
            return str(self._store.relative(path))
        return str(path)

    def admit(self, partial: Path, final: Path, *, replace: bool = False) -> None:
        """Move a finished file into `paths.models` in one step that survives a power cut.

        `partial` lies on the same filesystem, as everything under `paths.partial` does. It is
        then ready for `add`. LibraryError where `final` is taken (unless `replace`) or outside.
        """
        self.trash.settle()  # what a killed removal left there is not to be overwritten
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
        raise LibraryError(
            msg("{name!r} is not a name for a model", name=model.name),
            hint=msg("write it as org/name"),
        )
    # These come out of files from anywhere, and end up on a terminal.
    texts = (model.quant, model.architecture, model.source.repo, model.source.revision)
    if not all(text is None or text.isprintable() for text in texts):
        raise LibraryError(msg("{name}: its description holds control characters", name=model.name))
    if not (0 <= model.parameters < 2**63 and 0 <= model.size_bytes < 2**63):
        raise LibraryError(msg("{name}: its sizes cannot be right", name=model.name))
