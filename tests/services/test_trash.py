"""Removing, restoring, and what the disk gets back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from localq.errors import LibraryError, NotFoundError, StorageError, UsageError
from localq.library import Library
from localq.library.adoptions import Adoption, Way
from localq.library.disk import disk_bytes, freed_by_deleting, parse_extents
from localq.library.store import TRASH, Store
from localq.library.trash import TrashState
from localq.paths import Paths
from localq.services.library.remove import empty_trash, parse_age, plan_removal, remove, restore
from tests.library.test_library_model import stored

posix_only = pytest.mark.skipif(os.name == "nt", reason="counts links the POSIX way")


def test_a_model_comes_back_as_it_was(home: Paths) -> None:
    library = Library()
    stored(library, "org/model:Q4_0")
    library.labels.add_alias("org/model:Q4_0", "mine")
    library.labels.change_tags("org/model:Q4_0", ["work", "small"], [])
    library.labels.set_note("org/model:Q4_0", "for tests")
    path = library.find("mine").path
    library.add(
        library.find("mine"),
        [path],
        {path: "ab" * 32},
        adopted={path: Adoption("ollama", Way.HARD_LINK, "/elsewhere/blob")},
    )
    model = library.find("mine")
    known = library.hashes.of_model(model.name)
    assert (model.aliases, model.tags, model.note) == (("mine",), ("small", "work"), "for tests")

    removed = library.remove("mine")
    assert (removed.model, removed.frees_bytes) == (model, 10)
    assert not path.exists()
    assert library.models() == []
    with pytest.raises(NotFoundError):
        library.find("mine")
    (entry,) = library.trash.entries()
    assert (entry.model, entry.state) == (model, TrashState.KEPT)
    assert [file.read_bytes() for file in entry.files] == [b"0123456789"]

    assert restore(library, ["mine"]) == [model]
    assert library.models() == [model]
    assert library.hashes.of_model(model.name) == known
    assert library.adoptions.of_model(model.name) != {}
    assert path.read_bytes() == b"0123456789"
    assert library.trash.entries() == []
    assert not (home.models / TRASH).exists()


def test_a_name_that_is_taken_again_stays(home: Paths) -> None:
    library = Library()
    stored(library, "org/model:Q4_0")
    library.remove("model")
    new = stored(library, "Org/Model:Q4_0")
    with pytest.raises(LibraryError, match="Org/Model:Q4_0: there is a model of that name again"):
        restore(library, ["org/model:q4_0"])
    assert library.models() == [new]
    assert [entry.state for entry in library.trash.entries()] == [TrashState.KEPT]


def test_a_place_that_is_taken_again_is_not_written_over(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    library.remove("model")
    model.path.parent.mkdir(parents=True)
    model.path.write_bytes(b"someone's")
    with pytest.raises(LibraryError, match="is there already"):
        restore(library, ["model"])
    assert model.path.read_bytes() == b"someone's"
    (entry,) = library.trash.entries()
    assert (entry.state, entry.files[0].read_bytes()) == (TrashState.KEPT, b"0123456789")


def test_an_alias_that_means_another_by_now_stays_with_it(home: Paths) -> None:
    library = Library()
    stored(library, "org/model:Q4_0")
    library.labels.add_alias("org/model:Q4_0", "mine")
    library.remove("mine")
    stored(library, "org/other:Q4_0")
    library.labels.add_alias("org/other:Q4_0", "mine")
    (model,) = restore(library, ["model"])
    assert model.aliases == ()
    assert library.find("mine").name == "org/other:Q4_0"


def test_of_several_removals_the_latest_comes_back_or_the_one_numbered(home: Paths) -> None:
    library = Library()
    for text in (b"first", b"second"):
        stored(library, "org/model:Q4_0").path.write_bytes(text)
        library.remove("model")
    first = library.trash.entries()[-1]
    assert library.trash.find("model").files[0].read_bytes() == b"second"
    assert restore(library, [str(first.id)])[0].path.read_bytes() == b"first"
    with pytest.raises(NotFoundError, match="no 'nothing' in the trash"):
        restore(library, ["nothing"])


def test_several_at_once_or_none(home: Paths) -> None:
    library = Library()
    stored(library, "org/a:Q4_0")
    stored(library, "org/b:Q4_0")
    with pytest.raises(NotFoundError):
        remove(library, ["a", "nothing"])
    assert len(library.models()) == 2
    assert [one.model.name for one in remove(library, ["a", "b", "org/a:q4_0"])] == [
        "org/a:Q4_0",
        "org/b:Q4_0",
    ]
    assert library.models() == []


def test_at_once_leaves_nothing(home: Paths) -> None:
    library = Library()
    stored(library, "org/kept:Q4_0")
    stored(library, "org/a")
    library.remove("kept")
    remove(library, ["a"], now=True)
    assert [entry.model.name for entry in library.trash.entries()] == ["org/kept:Q4_0"]
    assert not (home.models / "org").exists()


def test_emptying(home: Paths) -> None:
    now = 1_000_000.0
    library = Library(clock=lambda: now)
    stored(library, "org/old:Q4_0")
    stored(library, "org/new:Q4_0")
    library.remove("old")
    Library().remove("new")
    assert empty_trash(library, dry_run=True).freed_bytes == 20
    week = parse_age("7d")
    assert [m.name for m in empty_trash(library, older_than=week).models] == ["org/old:Q4_0"]
    assert empty_trash(library, ["new"]).freed_bytes == 10
    assert empty_trash(library).models == ()
    assert list(home.models.iterdir()) == []
    for text in ("", "7", "7y", "-1d", "d"):
        with pytest.raises(UsageError):
            parse_age(text)


@posix_only
def test_links_are_counted_and_named(home: Paths, tmp_path: Path) -> None:
    library = Library()
    first, second = stored(library, "org/a:Q4_0"), stored(library, "org/b:Q4_0")
    second.path.unlink()
    second.path.hardlink_to(first.path)
    plans, together = plan_removal(library, ["a", "b"])
    assert [plan.frees_bytes for plan in plans] == [0, 0]
    assert together == 10
    assert [(sharer.who, sharer.other) for sharer in plans[0].sharers] == [
        ("org/b:Q4_0", second.path)
    ]
    library.remove("b")
    (plan,), _ = plan_removal(library, ["a"])
    assert plan.sharers[0].who == "org/b:Q4_0 in the trash"
    assert library.remove("a").frees_bytes == 0
    assert library.trash.empty(library.trash.entries()) == 10


@posix_only
def test_holes_free_nothing(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 << 20)
    assert disk_bytes(sparse.stat()) < 1 << 20
    assert freed_by_deleting([sparse, tmp_path / "nothing"]) < 1 << 20


def test_extents_that_are_shared() -> None:
    header = struct.pack("=QQLLLL", 0, 2**64 - 1, 0, 2, 512, 0)
    extents = struct.pack("=QQQQQLLLL", 0, 1, 4096, 0, 0, 0x2000, 0, 0, 0) + struct.pack(
        "=QQQQQLLLL", 4096, 1, 8192, 0, 0, 0x1, 0, 0, 0
    )
    assert parse_extents(header + extents) == (4096, 12288, True)
    lying = struct.pack("=QQLLLL", 0, 0, 0, 2**32 - 1, 512, 0)
    assert parse_extents(lying + extents) == (4096, 12288, True)
    assert parse_extents(struct.pack("=QQLLLL", 0, 0, 0, 0, 0, 0)) == (0, 0, True)


def test_a_file_gone_from_the_trash(home: Paths) -> None:
    library = Library()
    stored(library, "org/model")
    library.remove("model")
    (entry,) = library.trash.entries()
    entry.files[0].unlink()
    with pytest.raises(LibraryError, match="is gone from the trash"):
        restore(library, ["model"])
    assert library.trash.entries() == [entry]
    library.trash.empty([entry])
    assert list(home.models.iterdir()) == []


@pytest.mark.parametrize("step", ["moving", "restoring", "emptying"])
def test_what_was_cut_off_goes_on(home: Paths, step: str) -> None:
    library = Library()
    model = stored(library, "org/model")
    library.remove("model")
    (entry,) = library.trash.entries()
    # As after a kill: the state is stored, one of two files has moved.
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute("UPDATE trash SET state = ?", (step,))
    if step == "emptying":
        entry.files[0].unlink()
        with pytest.raises(LibraryError, match="is being deleted"):
            library.trash.restore(entry)
        library.trash.empty(library.trash.entries())
        assert list(home.models.iterdir()) == []
        return
    model.path.mkdir(parents=True)
    shutil.move(entry.files[1], model.path / entry.files[1].name)
    assert library.models() == []
    # A new file may come to the old place at any time: it is not mistaken for the removed one.
    part = home.data / "part"
    part.write_bytes(b"new")
    library.admit(part, model.path / entry.files[1].name)
    assert [file.read_bytes() for file in entry.files] == [b"0123456789"] * 2
    assert [e.state for e in library.trash.entries()] == [TrashState.KEPT]


@pytest.mark.parametrize("place", ["../../mine", "/mine", "a/../../b", "", ".trash/1/x", "org"])
def test_a_trash_that_was_tampered_with_touches_nothing(
    home: Paths, tmp_path: Path, place: str
) -> None:
    library = Library()
    stored(library, "org/model")
    library.remove("model")
    mine = tmp_path / "mine"
    mine.write_bytes(b"x")
    place = str(mine) if place == "/mine" else place
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute(
            "UPDATE trash SET entry = replace(entry, 'org/model/config.json', ?)", (place,)
        )
    before = {path for path in tmp_path.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}
    with pytest.raises(LibraryError):
        restore(library, ["model"])
    with pytest.raises(LibraryError):
        empty_trash(library)
    assert before <= set(tmp_path.rglob("*"))
    assert mine.read_bytes() == b"x"


@pytest.mark.parametrize("entry", ["", "[]", "{}", '{"model": 1}', "[" * 100_000, "null"])
def test_a_trash_entry_that_makes_no_sense(home: Paths, entry: str) -> None:
    library = Library()
    stored(library, "org/model")
    library.remove("model")
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute("UPDATE trash SET entry = ?", (entry,))
    with pytest.raises(LibraryError, match="damaged"):
        library.trash.entries()
    assert library.models() == []


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege")
def test_a_trash_folder_linked_elsewhere(home: Paths, tmp_path: Path) -> None:
    library = Library()
    stored(library, "org/model")
    library.remove("model")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(home.models / TRASH, elsewhere)
    (home.models / TRASH).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(LibraryError, match="outside"):
        library.trash.empty(library.trash.entries())
    assert len([path for path in elsewhere.rglob("*") if path.is_file()]) == 2


def test_nothing_enters_the_library_in_the_trashs_place(home: Paths) -> None:
    library = Library()
    for repo in (".trash/1", ".Trash/x"):
        with pytest.raises(UsageError, match="keeps that name"):
            library.checkpoint_folder(repo)
    with pytest.raises(LibraryError, match="in the trash"):
        library.admit(home.data / "x", home.models / ".trash" / "1" / "x")


class Killed(BaseException):
    """What nothing in localq expects."""


def killed_after(moves: int, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something that ends, as by a kill, after so many files were moved."""
    move, left = Store.move, moves

    def counted(self: Store, source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        move(self, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "move", counted)
        with pytest.raises(Killed):
            do()


VERBS = ("restore", "rm", "rm --now", "trash empty", "add")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.parametrize("cut_off", ["rm", "rm --now", "restore"])
def test_whatever_comes_after_a_kill_succeeds(
    home: Paths, monkeypatch: pytest.MonkeyPatch, cut_off: str, moves: int, verb: str
) -> None:
    library = Library()
    model = stored(library, "org/model")
    if cut_off == "restore":
        library.remove("model")
        killed_after(moves, monkeypatch, lambda: restore(library, ["model"]))
    else:
        now = cut_off == "rm --now"
        killed_after(moves, monkeypatch, lambda: remove(library, ["model"], now=now))
    gone = cut_off == "rm --now"
    assert library.models() == []
    if verb == "restore":
        if gone:  # it was to be deleted for good, and now is
            with pytest.raises(NotFoundError, match="in the trash"):
                restore(library, ["model"])
        else:
            assert restore(library, ["model"])[0].name == "org/model"
            assert {path.name for path in model.path.iterdir()} == {
                "config.json",
                "model.safetensors",
            }
    elif verb == "add":  # as pull, quantize and import do: settle, then put the files there
        library.trash.settle()
        stored(library, "org/model")
        assert all(file.is_file() for file in library.files(model))
    elif verb == "trash empty":
        asked = empty_trash(library, dry_run=True)
        assert asked.freed_bytes == 20
        assert empty_trash(library) == asked
        assert list(home.models.rglob("*")) == []
    else:
        (removed,) = remove(library, ["model"], now=verb == "rm --now")
        assert removed.model.name == "org/model"
        if gone or verb == "rm --now":
            assert list(home.models.rglob("*")) == []
            assert library.trash.entries() == []
    states = {entry.state for entry in library.trash.entries()}
    assert states <= {TrashState.KEPT}


def test_rm_now_goes_on_with_what_it_was_deleting(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    stored(library, "org/model")
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise Killed

        patch.setattr(Store, "delete", killed)
        with pytest.raises(Killed):
            remove(library, ["model"], now=True)
    assert [removed.model.name for removed in remove(library, ["model"], now=True)] == ["org/model"]
    assert list(home.models.rglob("*")) == []
    assert library.trash.entries() == []


def test_rm_of_what_is_in_the_trash_says_so(home: Paths) -> None:
    library = Library()
    stored(library, "org/model")
    remove(library, ["model"])
    with pytest.raises(NotFoundError, match="in the trash") as caught:
        remove(library, ["org/model"])
    assert caught.value.hint
    assert "localq restore org/model" in caught.value.hint


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real filesystem of 8 MB, with the home on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small disk here")
    monkeypatch.setenv("LOCALQ_HOME", str(folder / "home"))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, name: str) -> None:
    with suppress(OSError), (disk / name).open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass


@pytest.mark.parametrize("reserve", [True, False])
def test_models_can_be_removed_from_a_full_disk(small_disk: Path, reserve: bool) -> None:
    library = Library()
    for name in ("org/a:Q4_0", "org/b:Q4_0", "org/c"):
        model = stored(library, name)
        for file in library.files(model):
            file.write_bytes(bytes(200_000))
    library.remove("a")
    if not reserve:
        library.paths.database.with_name("localq.db.reserve").unlink()
    fill(small_disk, "one")
    if reserve:
        library.remove("b")
    else:
        with pytest.raises(StorageError, match="the disk is full") as caught:
            library.remove("b")
        assert "rm MODEL --now" in str(caught.value.hint)
    fill(small_disk, "two")
    entries = len(library.trash.entries())
    assert empty_trash(library).freed_bytes == 200_000 * entries
    fill(small_disk, "three")
    (removed,) = remove(library, ["c"], now=True)
    assert removed.frees_bytes == 400_000
    assert "org/c" not in [model.name for model in library.models()]
    assert not list(library.checkpoint_folder("org/c").parent.glob("c/*"))
