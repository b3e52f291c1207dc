"""The trash: removed models with all that was known of them, until it is emptied.

Files are renamed within the models folder's disk, so nothing is copied. What a process was doing
when it died is told by the entry's state, which is stored before any file moves:

    in the catalogue -> MOVING -> KEPT -> EMPTYING -> gone
              |           ^        |         ^
              |           |        v         |
              |           +---- RESTORING -> | -> in the catalogue
              +-> DISCARDING ----------------+

`settle` ends what a dead process began: MOVING and RESTORING by moving all files into the trash,
DISCARDING and EMPTYING by deleting them. All of it happens under the catalogue's write lock, so
whoever comes first ends it, and a second one finds nothing left to do. Every verb that adds or
removes a model settles first; what only reads takes the files where they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from localq.database.connection import NoRoom, damaged
from localq.errors import LibraryError, LocalqError, NotFoundError
from localq.library import names
from localq.library.catalogue import Catalogue
from localq.library.disk import freed_by_deleting
from localq.library.full_disk import give_room, with_reserve
from localq.library.model import Model, Removed
from localq.library.snapshot import Snapshot
from localq.library.store import Store
from localq.library.transaction import Transaction
from localq.messages import msg

__all__ = ["Trash", "TrashEntry", "TrashState"]

_TRIES = 20


class TrashState(StrEnum):
    MOVING = "moving"
    """On the way into the trash: some files may still lie where they were."""
    DISCARDING = "discarding"
    """As MOVING, and to be deleted at once then."""
    KEPT = "kept"
    RESTORING = "restoring"
    """On the way back: some files may be there again, but the model is not yet."""
    EMPTYING = "emptying"
    """Being deleted: some files may be gone."""


_ON_THE_WAY = (TrashState.MOVING, TrashState.DISCARDING, TrashState.RESTORING)
"""States in which files may lie in either place."""


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """A removed model. `model.path` is where it was, and will be again."""

    id: int
    model: Model
    state: TrashState
    removed_at: float
    """Unix seconds."""
    files: tuple[Path, ...]
    """Where its files lie now."""


@dataclass(frozen=True, slots=True)
class Trash:
    """The trash of one catalogue and its files."""

    catalogue: Catalogue
    store: Store
    clock: Callable[[], float]

    def entries(self) -> list[TrashEntry]:
        """What is in the trash, the latest first."""
        with self.catalogue.read() as transaction:
            if transaction is None:
                return []
            rows = transaction.connection.execute(
                "SELECT id, state, removed_at, entry FROM trash ORDER BY removed_at DESC, id DESC"
            ).fetchall()
        return [self._entry(*row) for row in rows]

    def by_home(self) -> dict[Path, list[Path]]:
        """For each place in the models folder the files in the trash that lay there."""
        found: dict[Path, list[Path]] = {}
        for entry in self.entries():
            folder = self.store.trash_folder(entry.id)
            for file in entry.files:
                if file.is_relative_to(folder):
                    home = self.store.root / file.relative_to(folder)
                    found.setdefault(home, []).append(file)
        return found

    def find(self, text: str) -> TrashEntry:
        """The entry with this number, or the latest of the model that this name means."""
        entries = self.entries()
        if found := next((entry for entry in entries if str(entry.id) == text), None):
            return found
        latest: dict[str, TrashEntry] = {}
        for entry in entries:
            latest.setdefault(entry.model.name.casefold(), entry)
        try:
            return latest[names.find([e.model for e in latest.values()], text).name.casefold()]
        except NotFoundError:
            raise NotFoundError(
                msg("no {text!r} in the trash", text=text),
                hint=msg("localq trash lists what is there"),
            ) from None

    @with_reserve
    def put(self, name: str, *, discard: bool = False) -> Removed:
        """Move the model of exactly this name into the trash, or `discard` it: delete it for good.
        One that is external, or whose files are all gone, is forgotten.

        LibraryError where a file lies elsewhere; StorageError, and all as it was, where one
        cannot be moved.
        """
        try:
            return self._put(name, discard=discard)
        except NoRoom:
            freed = give_room(self.store, self._files(name)) if discard else 0
            if not freed:
                raise
        removed = self._put(name, discard=True)
        return replace(
            removed,
            trash_id=removed.trash_id or 0,  # it went without ever being listed there
            frees_bytes=removed.frees_bytes + freed,
        )

    def _files(self, name: str) -> list[Path]:
        """The files of the model of exactly this name, if they are the library's."""
        with self.catalogue.read() as transaction:
            model = transaction.get(name) if transaction else None
            if transaction is None or model is None or model.external:
                return []
            return self.store.owned(transaction.files(model.name))

    def _put(self, name: str, *, discard: bool) -> Removed:
        with self.catalogue.write() as transaction:
            model = transaction.get(name)
            if model is None:
                raise NotFoundError(msg("{name}: removed by another localq just now", name=name))
            places = transaction.files(model.name)
            # A model without files could never be restored.
            if model.external or not any(map(os.path.lexists, self.store.owned(places))):
                transaction.delete(model.name)
                return Removed(model, None, 0)
            state = TrashState.DISCARDING if discard else TrashState.MOVING
            number = self._enter(transaction, Snapshot.take(transaction, model.name), state=state)
            self.store.trashed(number, places)
            transaction.delete(model.name)
        try:
            self._gather(number)
        except LocalqError:
            self._undo(number)
            raise
        removed = Removed(model, number, freed_by_deleting(self.store.trashed(number, places)))
        if discard:
            self._finish_emptying(number)
        return removed

    def put_files(self, places: Sequence[str], name: str) -> int:
        """Move files that no entry has into the trash, as a model called `name`.

        Returns the entry's number. LibraryError where a file lies elsewhere or is an entry's.
        """
        files = self.store.owned(places)
        with self.catalogue.write() as transaction:
            for place, file in zip(places, files, strict=True):
                if owner := transaction.owner(self.store.relative(file)):
                    raise LibraryError(msg("{place}: belongs to {owner}", place=place, owner=owner))
            number = self._enter(
                transaction, Snapshot.of_unknown(_sizes(places, files), name, self.clock())
            )
            self.store.trashed(number, places)
        self._gather(number)
        return number

    def adopt(self, number: int, places: Sequence[str]) -> None:
        """List files again that lie in the folder of an entry which the catalogue lost."""
        files = self.store.trashed(number, places)
        with self.catalogue.write() as transaction:
            if self._state(transaction, number) is not None:
                return
            name = "/".join(PurePosixPath(places[0]).parts[:-1][:2]) or "lost"
            snapshot = Snapshot.of_unknown(_sizes(places, files), f"{name}:orphan", self.clock())
            self._enter(transaction, snapshot, number)
            self._set(transaction, number, TrashState.KEPT)

    @with_reserve
    def restore(self, entry: TrashEntry) -> Model:
        """Bring a model back. LibraryError where its name or place is taken, or a file is gone."""
        for _ in range(_TRIES):
            with self.catalogue.write() as transaction:
                snapshot = self._ready(transaction, entry.id)
                self._set(transaction, entry.id, TrashState.RESTORING)
            try:
                with self.catalogue.write() as transaction:
                    if self._state(transaction, entry.id) is not TrashState.RESTORING:
                        continue  # another process took this for the work of a dead one
                    places = list(snapshot.files)
                    for source, place in zip(
                        self.store.trashed(entry.id, places), places, strict=True
                    ):
                        self.store.move(source, self.store.root / place)
                    snapshot.put_back(transaction)
                    self._delete(transaction, entry.id)
                    model = transaction.get(snapshot.name)
                    assert model is not None
                return model
            except LocalqError:
                self._gather(entry.id)
                raise
        raise LibraryError(
            msg("{name}: another localq is working on it; try again", name=entry.model.name)
        )

    @with_reserve
    def empty(self, entries: Iterable[TrashEntry]) -> int:
        """Delete these for good; the bytes the disk got back. Killed, it goes on the next time."""
        entries = list(entries)
        try:
            return self._empty(entries)
        except NoRoom:
            freed = give_room(self.store, [file for entry in entries for file in entry.files])
            if not freed:
                raise
        return freed + self._empty(entries)

    def _empty(self, entries: Iterable[TrashEntry]) -> int:
        chosen: list[int] = []
        files: list[Path] = []
        for entry in entries:
            self._gather(entry.id)
            with self.catalogue.write() as transaction:
                if self._state(transaction, entry.id) is None:
                    continue
                places = list(self._snapshot(transaction, entry.id).files)
                files += self.store.trashed(entry.id, places)
                self._set(transaction, entry.id, TrashState.EMPTYING)
            chosen.append(entry.id)
        freed = freed_by_deleting(files)
        for number in chosen:
            self._finish_emptying(number)
        return freed

    def unsettled(self) -> list[TrashEntry]:
        """Entries that a process is moving or deleting just now, or was when it died."""
        return [entry for entry in self.entries() if entry.state is not TrashState.KEPT]

    def settle(self) -> list[TrashEntry]:
        """End what dead processes began; the entries, as they were found."""
        found = self.unsettled()
        if found:
            self._settle(found)
        return found

    @with_reserve
    def _settle(self, found: Iterable[TrashEntry]) -> None:
        for entry in found:
            self._gather(entry.id)
            self._finish_emptying(entry.id)

    def _gather(self, number: int) -> None:
        """Have all files of an entry that is on the way in the trash."""
        with self.catalogue.write() as transaction:
            state = self._state(transaction, number)
            if state not in _ON_THE_WAY:
                return
            places = list(self._snapshot(transaction, number).files)
            for source, target, place in zip(
                self.store.owned(places), self.store.trashed(number, places), places, strict=True
            ):
                another = transaction.owner(self.store.relative(source)) is not None
                if os.path.lexists(source) and not os.path.lexists(target) and not another:
                    self.store.move(source, self.store.trash_folder(number) / place)
                self.store.prune(source.parent)  # left empty by the move that was the last
            discard = state is TrashState.DISCARDING
            self._set(transaction, number, TrashState.EMPTYING if discard else TrashState.KEPT)

    def _finish_emptying(self, number: int) -> None:
        """Delete what is left of an entry that is being deleted; nothing for others."""
        with self.catalogue.read() as reading:
            if reading is None or self._state(reading, number) is not TrashState.EMPTYING:
                return
            files = self.store.trashed(number, list(self._snapshot(reading, number).files))
        self.store.delete(files)
        with self.catalogue.write() as transaction:
            self._delete(transaction, number)

    def _undo(self, number: int) -> None:
        """Make a removal that failed halfway not have happened."""
        with self.catalogue.write() as transaction:
            if self._state(transaction, number) is None:
                return  # another process ended it
            snapshot = self._snapshot(transaction, number)
            places = list(snapshot.files)
            for source, place in zip(self.store.trashed(number, places), places, strict=True):
                if os.path.lexists(source):
                    self.store.move(source, self.store.root / place)
            snapshot.put_back(transaction)
            self._delete(transaction, number)

    def _ready(self, transaction: Transaction, number: int) -> Snapshot:
        """LibraryError unless the entry can come back whole."""
        state = self._state(transaction, number)
        if state is None:
            raise NotFoundError(msg("it is not in the trash any more"))
        snapshot = self._snapshot(transaction, number)
        if state is TrashState.EMPTYING:
            raise LibraryError(
                msg("{name}: is being deleted", name=snapshot.name), hint="localq trash empty"
            )
        if holder := transaction.get(snapshot.name):
            raise LibraryError(
                msg("{name}: there is a model of that name again", name=holder.name),
                hint=msg("remove that first: localq rm {name}", name=holder.name),
            )
        places = list(snapshot.files)
        for home in self.store.owned(places):
            place = self.store.relative(home)
            if owner := transaction.owner(place):
                raise LibraryError(msg("{home}: belongs to {owner} by now", home=home, owner=owner))
        if state is TrashState.KEPT:
            for file in self.store.trashed(number, places):
                if not os.path.lexists(file):
                    raise LibraryError(
                        msg("{name}: {file} is gone from the trash", name=snapshot.name, file=file),
                        hint=msg("delete the rest: localq trash empty {number}", number=number),
                    )
        return snapshot

    def _enter(
        self,
        transaction: Transaction,
        snapshot: Snapshot,
        number: int | None = None,
        state: TrashState = TrashState.MOVING,
    ) -> int:
        row = (number, snapshot.name.casefold(), state, self.clock())
        entered = transaction.connection.execute(
            "INSERT INTO trash (id, key, state, removed_at, entry) VALUES (?, ?, ?, ?, ?)",
            (*row, snapshot.encode()),
        )
        assert entered.lastrowid is not None
        return entered.lastrowid

    def _state(self, transaction: Transaction, number: int) -> TrashState | None:
        row = transaction.connection.execute("SELECT state FROM trash WHERE id = ?", (number,))
        found = row.fetchone()
        return None if found is None else self._known_state(found[0])

    def _known_state(self, text: str) -> TrashState:
        try:
            return TrashState(text)
        except ValueError:
            raise damaged(self.catalogue.database.path, msg("trash: {text!r}", text=text)) from None

    def _snapshot(self, transaction: Transaction, number: int) -> Snapshot:
        row = transaction.connection.execute("SELECT entry FROM trash WHERE id = ?", (number,))
        return Snapshot.decode(row.fetchone()[0], transaction.database)

    def _set(self, transaction: Transaction, number: int, state: TrashState) -> None:
        transaction.connection.execute("UPDATE trash SET state = ? WHERE id = ?", (state, number))

    def _delete(self, transaction: Transaction, number: int) -> None:
        transaction.connection.execute("DELETE FROM trash WHERE id = ?", (number,))

    def _entry(self, number: int, state: str, removed_at: float, text: str) -> TrashEntry:
        database = self.catalogue.database.path
        snapshot = Snapshot.decode(text, database)
        known = self._known_state(state)
        files = self.store.trashed(number, snapshot.files)
        if known in _ON_THE_WAY:
            homes = [self.store.root / place for place in snapshot.files]
            files = [
                file if os.path.lexists(file) or not os.path.lexists(home) else home
                for file, home in zip(files, homes, strict=True)
            ]
        return TrashEntry(
            id=number,
            model=snapshot.as_model(self.store.root, database),
            state=known,
            removed_at=float(removed_at),
            files=tuple(files),
        )


def _sizes(places: Sequence[str], files: Sequence[Path]) -> dict[str, int]:
    return {place: file.lstat().st_size for place, file in zip(places, files, strict=True)}
