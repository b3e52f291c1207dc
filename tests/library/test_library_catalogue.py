"""The catalogue's file: damaged, newer, busy, unfinished."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from localq.database import Database, connection, schema
from localq.database import database as database_module
from localq.errors import LibraryError, StorageError
from localq.library import Library
from localq.library.catalogue import Catalogue
from localq.paths import Paths
from tests.counted_calls import calls
from tests.library.test_library_model import stored

_MOST_CALLS = 100
"""For each model."""


def run_sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for text in statements for row in connection.execute(text).fetchall()]


def test_a_new_catalogue_is_as_designed(home: Paths) -> None:
    stored(Library(), "org/model")
    state = run_sql(home.database, "PRAGMA journal_mode", "PRAGMA user_version")
    assert state == [("wal",), (schema.VERSION,)]
    tables = run_sql(home.database, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    assert {"models", "files", "aliases", "tags", "hashes", "adoptions", "trash"} <= {
        name for (name,) in tables
    }
    assert sorted(path.name for path in home.data.iterdir()) == ["localq.db", "models"]


def test_forgetting_a_model_forgets_its_files(home: Paths) -> None:
    library = Library()
    stored(library, "org/model")
    assert len(run_sql(home.database, "SELECT path FROM files")) == 2
    library.remove("model")
    assert run_sql(home.database, "SELECT path FROM files") == []


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_file_that_is_no_database(home: Paths, size: int) -> None:
    home.data.mkdir(parents=True)
    home.database.write_bytes(b"not a database; " * size)
    for act in (Library().models, lambda: stored(Library(), "org/model")):
        with pytest.raises(LibraryError, match="the catalogue is damaged") as caught:
            act()
        assert str(home.database) in caught.value.message
        assert caught.value.hint is not None
        assert "move this file away" in caught.value.hint
    assert home.database.read_bytes() == b"not a database; " * size


def test_a_damaged_page_is_reported(home: Paths) -> None:
    library = Library()
    for number in range(40):
        stored(library, f"org/model-{number}")
    whole = home.database.read_bytes()
    home.database.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(LibraryError, match="damaged"):
        library.models()
    home.database.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LibraryError, match="damaged"):
        library.models()


@pytest.mark.parametrize("change", ["format = 'pickle'", "used_at = 'soon'", "parameters = 'x'"])
def test_a_senseless_entry_is_reported(home: Paths, change: str) -> None:
    library = Library()
    stored(library, "org/model")
    run_sql(home.database, "PRAGMA ignore_check_constraints = 1", f"UPDATE models SET {change}")
    with pytest.raises(LibraryError, match=r"damaged \(entry 'org/model'"):
        library.models()


def test_a_catalogue_without_its_tables_is_reported(home: Paths) -> None:
    stored(Library(), "org/model")
    run_sql(home.database, "DROP TABLE files", "DROP TABLE models")
    with pytest.raises(LibraryError, match="cannot be used: no such table"):
        Library().models()


def test_a_folder_in_its_place(home: Paths) -> None:
    home.database.mkdir(parents=True)
    with pytest.raises(StorageError, match="unable to open"):
        Library().models()


@pytest.mark.parametrize("version", [schema.VERSION + 1, 2**31 - 1, -1])
def test_a_newer_catalogue_is_left_alone(home: Paths, version: int) -> None:
    library = Library()
    stored(library, "org/model")
    run_sql(home.database, f"PRAGMA user_version = {version}")
    before = home.database.read_bytes()
    for act in (library.models, lambda: stored(library, "org/other")):
        with pytest.raises(LibraryError, match="made by a newer localq") as caught:
            act()
        assert str(home.database) in caught.value.message
    assert home.database.read_bytes() == before


def test_an_empty_file_becomes_a_catalogue(home: Paths) -> None:
    home.data.mkdir(parents=True)
    home.database.touch()
    assert Library().models() == []
    model = stored(Library(), "org/model")
    assert Library().models() == [model]


def test_an_older_catalogue_is_brought_up_to_date(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    model = stored(library, "org/model")
    later = (*schema._MIGRATIONS, ("ALTER TABLE models ADD COLUMN mood TEXT",))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_MIGRATIONS", later)
        patch.setattr(schema, "VERSION", len(later))
        assert library.models() == [model]
    assert run_sql(home.database, "SELECT mood FROM models") == [(None,)]
    with pytest.raises(LibraryError, match="newer"):
        library.models()


def test_a_migration_that_fails_changes_nothing(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    model = stored(library, "org/model")
    wrong = (*schema._MIGRATIONS, ("ALTER TABLE models ADD COLUMN mood TEXT", "nonsense"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_MIGRATIONS", wrong)
        patch.setattr(schema, "VERSION", len(wrong))
        with pytest.raises(LibraryError, match="syntax error"):
            library.models()
    assert library.models() == [model]


def test_an_error_in_the_middle_undoes_all(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    model = stored(library, "org/model")
    with monkeypatch.context() as patch:
        patch.setattr("localq.library.store.Store.trashed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            library.remove("model")
    assert library.models() == [model]
    assert (model.path / "config.json").exists()


def test_readers_do_not_wait_for_a_writer(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/model")
    with Catalogue(Database(home.database), home.models).write() as transaction:
        transaction.delete("org/model")
        # As it was before the change. Whoever waited here would wait in vain, and say so.
        assert Library().models() == [model]
    assert library.models() == []


def test_a_second_writer_waits_for_the_first(home: Paths) -> None:
    library = Library()
    stored(library, "org/model", used=1)
    began = threading.Event()

    def second() -> None:
        began.set()
        Library(clock=lambda: 9.0).touch("model")

    other = threading.Thread(target=second)
    with Catalogue(Database(home.database), home.models).write() as transaction:
        other.start()
        began.wait()
        transaction.touch("org/model", 5.0)
    other.join()
    assert library.models()[0].used_at == 9.0


def test_threads_that_come_first_together_make_one_catalogue(home: Paths) -> None:
    together = threading.Barrier(6)
    failed: list[BaseException] = []

    def first(number: int) -> None:
        together.wait()
        try:
            stored(Library(), f"org/model{number}:Q4_0")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=first, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(Library().models()) == 6
    assert sorted(path.name for path in home.data.iterdir()) == ["localq.db", "models"]


def test_losing_the_race_to_make_the_catalogue(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process puts its catalogue in place just before ours is whole."""
    migrate = schema.migrate
    won: list[str] = []

    def beaten(connection: sqlite3.Connection, path: Path) -> None:
        migrate(connection, path)
        if not won:
            won.append("org/other:Q4_0")
            stored(Library(), won[0])

    monkeypatch.setattr(database_module, "migrate", beaten)
    stored(Library(), "org/model:Q4_0")
    assert [model.name for model in Library().models()] == ["org/model:Q4_0", "org/other:Q4_0"]
    assert sorted(path.name for path in home.data.iterdir()) == ["localq.db", "models"]


def test_a_home_that_may_not_be_looked_into(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", forbidden)
    with pytest.raises(LibraryError, match=r"localq\.db: cannot be read: Permission denied"):
        Library().models()


def test_waiting_for_a_writer_ends(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    model = stored(library, "org/model")
    monkeypatch.setattr(database_module, "_WRITE_SECONDS", 0.0)
    with (
        Catalogue(Database(home.database), home.models).write(),
        pytest.raises(LibraryError, match="another localq is writing"),
    ):
        library.add(model, [model.path / "config.json"])


def test_sqlites_refusals_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    run_sql(path, "CREATE TABLE t (x)")

    def run(mode: str, *statements: str) -> None:
        with connection.connected(path, mode, 0.0) as opened:
            for statement in statements:
                opened.execute(statement)

    with pytest.raises(StorageError, match="the disk is full"):
        run("rw", "PRAGMA max_page_count = 2", "INSERT INTO t VALUES (zeroblob(100000))")
    with pytest.raises(StorageError, match="readonly"):
        run("ro", "INSERT INTO t VALUES (1)")


def test_a_folder_that_cannot_be_made(home: Paths) -> None:
    home.data.parent.mkdir(parents=True)
    home.data.write_bytes(b"a file where the folder should be")
    library = Library()
    assert library.models() == []
    with pytest.raises(StorageError), library._catalogue.write():
        pytest.fail("there is no place for a catalogue")


def test_a_library_in_a_folder_that_may_not_be_written_can_be_read(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only disk: SQLite cannot make the lock files of WAL mode there."""
    library = Library()
    model = stored(library, "org/model")
    connect = sqlite3.connect

    def read_only(name: str, *, uri: bool, **rest: object) -> sqlite3.Connection:
        if "mode=rw" in name:
            raise failure
        return connect(name, uri=uri, isolation_level=None)

    with pytest.raises(sqlite3.OperationalError) as caught:
        connect(f"file:{home.data.as_posix()}", uri=True)
    failure = caught.value
    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(StorageError, match="cannot be opened"):
        library.models()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert library.models() == [model]
    library.touch("model")
    assert library.models() == [model]


def test_on_a_full_disk_the_catalogue_can_be_read(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    model = stored(library, "org/model")
    connect = sqlite3.connect
    full = sqlite3.OperationalError("disk I/O error")
    full.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE

    def no_room(name: str, *, uri: bool, **rest: object) -> sqlite3.Connection:
        if "mode=rw" in name:
            raise full
        return connect(name, uri=uri, isolation_level=None)

    monkeypatch.setattr(sqlite3, "connect", no_room)
    assert library.models() == [model]
    with pytest.raises(StorageError, match="the disk is full"):
        library.add(model, [model.path])
    home.database.with_name(f"{home.database.name}-wal").write_bytes(b"not yet in the file itself")
    with pytest.raises(StorageError, match="the disk is full"):
        library.models()


def test_a_thousand_models_are_listed_quickly(home: Paths) -> None:
    """Counted, with a bound of four times what it takes: it catches a change of order only."""
    library = Library()
    stored(library, "org/model")
    columns = "name, format, quant, architecture, parameters, size_bytes, path, used_at, created_at"
    run_sql(
        home.database,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        f" INSERT INTO models (key, {columns}) SELECT 'other/m' || i, 'other/m' || i,"
        " 'gguf', 'Q4_0', 'llama', 1, 1, 'other/m' || i || '.gguf', i, i FROM n",
    )
    assert calls(library.models) < 1000 * _MOST_CALLS
    assert len(library.models()) == 1000
    assert library.find("m500").name == "other/m500"
