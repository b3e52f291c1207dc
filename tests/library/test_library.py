"""The library as services use it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from localq.errors import LibraryError, NotFoundError, StorageError, UsageError
from localq.library import Library, ModelFormat, ModelSource
from localq.library.model import Model
from localq.library.store import TRASH
from localq.paths import Paths
from tests.library.test_library_model import entry, stored

needs_symlinks = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege")


class Clock:
    """Says what it is told, until told otherwise."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def everything(folder: Path) -> set[str]:
    """All there is below, but for what is in a trash."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path.as_posix() for path in found if TRASH not in path.parts}


def test_looking_creates_nothing(home: Paths, tmp_path: Path) -> None:
    with Library() as library:
        assert library.paths == home
        assert library.models() == []
        assert library.last_used() is None
        library.gguf_path("org/model", "Q4_0")
        for look in (library.find, library.touch, library.remove):
            with pytest.raises(NotFoundError):
                look("org/model")
    assert everything(tmp_path) == set()


def test_an_added_model_comes_back_as_it_was(home: Paths) -> None:
    library = Library()
    checkpoint = stored(library, "org/model", used=2)
    gguf = stored(library, "org/model:Q4_0", used=1)
    assert Library(home).models() == [checkpoint, gguf]
    assert checkpoint == entry("org/model", used=2, path=home.models / "org" / "model")
    assert gguf.path == home.models / "org" / "model" / "model-Q4_0.gguf"
    own = replace(checkpoint, name="mine", source=ModelSource(None, None))
    folder = library.checkpoint_folder("mine")
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    own = library.add(replace(own, path=folder), [folder / "config.json"])
    assert own.source == ModelSource(None, None)
    assert library.find("mine") == own


def test_models_are_sorted_whatever_their_capitals(home: Paths) -> None:
    library = Library()
    for name in ("b/x", "C/x", "a/x:Q8_0", "a/x:Q4_0", "A/y"):
        stored(library, name)
    assert [m.name for m in library.models()] == ["a/x:Q4_0", "a/x:Q8_0", "A/y", "b/x", "C/x"]


def test_a_moved_home_still_works(home: Paths, tmp_path: Path) -> None:
    stored(Library(), "org/model:Q4_0")
    moved = tmp_path / "moved"
    shutil.move(home.data, moved / "data")
    library = Library(Paths(moved / "data", moved, moved, moved))
    path = library.find("model").path
    assert path == moved / "data" / "models" / "org" / "model" / "model-Q4_0.gguf"
    assert library.remove("model").frees_bytes == 10
    assert not path.exists()


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    data = tmp_path / "50% of what? #1 ünï"
    library = Library(Paths(data, data, data, data))
    model = stored(library, "org/model:Q4_0")
    assert library.models() == [model]
    assert (data / "localq.db").is_file()


def test_an_entry_of_the_same_name_gives_way(home: Paths) -> None:
    library = Library()
    old = stored(library, "org/model", used=1)
    weights = old.path / "model-00001-of-00001.safetensors"
    weights.write_bytes(b"x")
    new = replace(old, name="Org/Model", used_at=2.0)
    assert library.add(new, [old.path / "config.json", weights]) == new
    assert library.models() == [new]
    # What only the old one had is gone: an index of weights that are no more would mislead.
    assert everything(old.path) == {"config.json", weights.name}
    assert library.remove("org/model").frees_bytes == 11
    assert not old.path.exists()


def test_a_file_has_one_owner(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    with pytest.raises(LibraryError, match="belongs to org/model:Q4_0"):
        library.add(replace(model, name="org/other:Q4_0"), [model.path])
    assert library.models() == [model]


def test_only_finished_files_inside_are_taken_in(home: Paths, tmp_path: Path) -> None:
    library = Library()
    path = library.gguf_path("org/model", "Q4_0")
    model = entry("org/model:Q4_0", path=path)
    with pytest.raises(LibraryError, match=r"model-Q4_0\.gguf: cannot enter the library: No such"):
        library.add(model, [path])
    path.mkdir(parents=True)
    with pytest.raises(LibraryError, match="not a plain file"):
        library.add(model, [path])
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(b"x")
    for place in (outside, home.models / ".." / ".." / ".." / "outside.gguf", home.models):
        with pytest.raises(LibraryError, match="outside the folder of models"):
            library.add(replace(model, path=place), [place])
    device = path.parent / "NUL.gguf"
    with pytest.raises(LibraryError, match="Windows keeps that name for a device"):
        library.add(replace(model, path=device), [device])
    unfinished = path.parent / ".model.gguf.partial"
    unfinished.write_bytes(b"x")
    with pytest.raises(LibraryError, match="it is unfinished"):
        library.add(replace(model, path=unfinished), [unfinished])
    assert library.models() == []


def test_an_entry_may_not_contradict_itself(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    other = library.gguf_path("org/model", "Q8_0")
    other.write_bytes(b"x")
    for wrong in (
        replace(model, path=other),
        replace(model, name=""),
        replace(model, name="a/b/c:Q4_0"),
        replace(model, name="../model:Q4_0"),
        replace(model, name="org/model:"),
        replace(model, name="org/mod\x1bel"),
        replace(model, quant="Q4\n0"),
        replace(model, architecture="\x1b[2J"),
        replace(model, source=ModelSource("a\x07b", None)),
        replace(model, parameters=2**64),
        replace(model, size_bytes=-1),
        replace(model, created_at=float("nan")),
    ):
        with pytest.raises(LibraryError):
            library.add(wrong, [model.path])
    with pytest.raises(LibraryError):
        library.add(model, [])
    assert library.models() == [model]


def test_shards_are_one_model(home: Paths) -> None:
    library = Library()
    folder = library.checkpoint_folder("org/big")
    folder.mkdir(parents=True)
    shards = [folder / f"big-Q4_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    for shard in shards:
        shard.write_bytes(b"12345")
    library.add(entry("org/big:Q4_0", path=shards[0]), shards)
    assert library.find_gguf("big").path == shards[0]
    assert library.remove("big").frees_bytes == 10
    assert everything(home.models) == set()


def test_use_decides_what_was_last(home: Paths) -> None:
    clock = Clock(100.0)
    library = Library(clock=clock)
    checkpoint = stored(library, "org/model", used=1)
    q4 = stored(library, "org/model:Q4_0", used=2)
    q8 = stored(library, "org/model:Q8_0", used=3)
    assert library.last_used() == q8
    library.touch("model:q4_0")
    assert library.last_used() == replace(q4, used_at=100.0)
    assert library.find_gguf("model").name == q4.name
    clock.now = 50.0  # the clock was set back; the order of use is still the order of use
    library.touch(q8.name)
    assert library.find_gguf(None).name == q8.name
    library.touch(q4.name)
    assert library.find_gguf(None).name == q4.name
    library.touch(checkpoint.name)
    last = library.last_used()
    assert last is not None
    assert last.name == checkpoint.name
    assert 100.0 < last.used_at < 100.1
    assert library.find_gguf(None).name == q4.name
    assert library.find_checkpoint(None).name == checkpoint.name


def test_touching_the_only_model_takes_the_time_as_it_is(home: Paths) -> None:
    library = Library(clock=Clock(7.0))
    stored(library, "org/model", used=9)
    library.touch("model")
    assert library.models()[0].used_at == 7.0


def test_touch_does_not_mind_a_full_disk(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    model = stored(library, "org/model")

    def full(*args: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("localq.library.transaction.Transaction.touch", full)
    library.touch("org/model")
    assert library.models() == [model]


def test_removing_deletes_exactly_its_files(home: Paths) -> None:
    library = Library()
    checkpoint = stored(library, "org/model")
    stored(library, "org/model:Q4_0")
    stored(library, "org/other:Q4_0")
    removed = library.remove("model")
    assert (removed.model, removed.frees_bytes) == (checkpoint, 20)
    assert [model.name for model in library.models()] == ["org/model:Q4_0", "org/other:Q4_0"]
    assert everything(checkpoint.path) == {"model-Q4_0.gguf"}
    (checkpoint.path / "notes.txt").write_text("mine")
    assert library.remove("model:q4_0").frees_bytes == 10
    assert everything(checkpoint.path) == {"notes.txt"}
    library.remove("other")
    assert everything(home.models) == {"org", "org/model", "org/model/notes.txt"}


def test_removing_the_last_leaves_the_models_folder(home: Paths) -> None:
    library = Library()
    stored(library, "org/model:Q4_0")
    library.remove("model:q4_0")
    assert home.models.is_dir()
    assert everything(home.models) == set()
    assert library.models() == []


def test_a_vanished_model_is_listed_and_can_be_removed(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    shutil.rmtree(home.models / "org")
    assert library.models() == [model]
    assert library.remove("model").frees_bytes == 0
    assert library.models() == []


@pytest.mark.skipif(os.name == "nt", reason="counts links the POSIX way")
def test_a_file_with_another_link_frees_nothing(home: Paths, tmp_path: Path) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    (tmp_path / "mine.gguf").hardlink_to(model.path)
    assert library.remove("model").frees_bytes == 0
    assert (tmp_path / "mine.gguf").read_bytes() == b"0123456789"


def test_a_path_is_not_removed(home: Paths, tmp_path: Path) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"x")
    for path in (str(mine), str(model.path), "../mine.gguf", "mine.gguf", "~/mine"):
        with pytest.raises(LibraryError, match="is a path; localq removes only models") as caught:
            library.remove(path)
        assert caught.value.hint == "localq list shows their names"
    with pytest.raises(NotFoundError):
        library.remove("mine")
    assert mine.exists()
    assert model.path.exists()
    assert library.models() == [model]


def test_a_name_that_may_mean_several_is_not_removed(home: Paths) -> None:
    library = Library()
    both = [stored(library, "org/model:Q4_0"), stored(library, "org/model:Q8_0")]
    with pytest.raises(LibraryError, match="org/model:Q4_0, org/model:Q8_0"):
        library.remove("model")
    assert all(model.path.exists() for model in both)


@needs_symlinks
@pytest.mark.parametrize("linked", ["org", "org/model"])
def test_a_folder_linked_to_elsewhere_is_left_alone(
    home: Paths, tmp_path: Path, linked: str
) -> None:
    library = Library()
    model = stored(library, "org/model")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(home.models / linked, elsewhere)
    (home.models / linked).symlink_to(elsewhere, target_is_directory=True)
    before = everything(elsewhere)
    with pytest.raises(LibraryError, match="outside the folder of models"):
        library.remove("model")
    with pytest.raises(LibraryError, match="outside the folder of models"):
        library.add(model, [model.path / "config.json"])
    assert everything(elsewhere) == before
    assert library.models() == [model]


@needs_symlinks
def test_a_linked_file_loses_the_link_alone(home: Paths, tmp_path: Path) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    mine = tmp_path / "mine.gguf"
    shutil.move(model.path, mine)
    model.path.symlink_to(mine)
    with pytest.raises(LibraryError, match="not a plain file"):
        library.add(model, [model.path])
    assert library.remove("model").frees_bytes == 0
    library.trash.empty(library.trash.entries())
    assert mine.exists()
    assert everything(home.models) == set()


@needs_symlinks
def test_the_models_folder_itself_may_be_a_link(home: Paths, tmp_path: Path) -> None:
    disk = tmp_path / "big disk"
    disk.mkdir()
    home.data.mkdir(parents=True)
    home.models.symlink_to(disk, target_is_directory=True)
    library = Library()
    model = stored(library, "org/model:Q4_0")
    assert model.path.is_relative_to(home.models)
    # The same file by its real name is the same file.
    real = disk / "org" / "model" / "model-Q4_0.gguf"
    assert library.add(replace(model, path=real), [real]) == model
    library.remove("model")
    assert everything(disk) == set()
    assert library.trash.restore(library.trash.find("model")) == model
    library.remove("model")
    library.trash.empty(library.trash.entries())
    assert list(disk.iterdir()) == []
    assert home.models.is_symlink()


@pytest.mark.parametrize("place", ["../../mine", "/mine", "org/../../../mine", "org/model", ""])
def test_a_catalogue_that_was_tampered_with_deletes_nothing(
    home: Paths, tmp_path: Path, place: str
) -> None:
    library = Library()
    model = stored(library, "org/model")
    mine = tmp_path / "mine"
    mine.write_bytes(b"x")
    place = str(mine) if place == "/mine" else place
    with sqlite3.connect(home.database) as database:
        database.execute(
            "UPDATE files SET path = ? WHERE path = 'org/model/model.safetensors'", (place,)
        )
    database.close()
    before = everything(tmp_path)
    with pytest.raises(LibraryError):
        library.remove("model")
    assert everything(tmp_path) == before
    assert library.models() == [model]


def test_a_file_that_cannot_be_deleted_stays_removable(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    model = stored(library, "org/model")
    unlink, rename = Path.unlink, Path.rename

    def refuse_deleting(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".json":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    def refuse_moving(path: Path, target: Path) -> Path:
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse_deleting)
        patch.setattr(Path, "rename", refuse_moving)
        with pytest.raises(StorageError, match=r"model\.safetensors: cannot be moved: Perm"):
            library.remove("model")
        assert library.models() == [model]
        assert everything(model.path) == {"config.json", "model.safetensors"}
        assert library.trash.entries() == []
        # Nor does it keep a new entry out.
        assert library.add(model, [model.path / "model.safetensors"]) == model
    assert library.remove("model").frees_bytes == 10
    assert library.models() == []


def test_where_models_go(home: Paths) -> None:
    library = Library()
    assert library.checkpoint_folder("org/model") == home.models / "org" / "model"
    assert library.checkpoint_folder("gpt2") == home.models / "gpt2"
    file = library.gguf_path("org/model", "Q4_K_M")
    assert file == home.models / "org" / "model" / "model-Q4_K_M.gguf"
    for repo in (
        "",
        "/",
        "org/",
        "/model",
        "a/b/c",
        "../x",
        "org/..",
        "org/nul",
        "C:\\x",
        "o\x00/x",
    ):
        with pytest.raises(UsageError):
            library.checkpoint_folder(repo)
        with pytest.raises(UsageError):
            library.gguf_path(repo, "Q4_0")
    for quant in ("", "../Q4_0", "Q4/0", "x" * 250):
        with pytest.raises(UsageError):
            library.gguf_path("org/model", quant)


def test_admit_then_add(home: Paths) -> None:
    library = Library()
    home.partial.mkdir(parents=True)
    part = home.partial / "download"
    part.write_bytes(b"0123456789")
    final = library.gguf_path("org/model", "Q4_0")
    library.admit(part, final)
    model = library.add(entry("org/model:Q4_0", path=final), [final])
    assert not part.exists()
    part.write_bytes(b"new")
    with pytest.raises(LibraryError, match="is there already"):
        library.admit(part, final)
    library.admit(part, final, replace=True)
    assert final.read_bytes() == b"new"
    part.write_bytes(b"new")
    with pytest.raises(LibraryError, match="outside"):
        library.admit(part, home.data / "elsewhere")
    assert part.exists()
    assert library.models() == [model]


def test_removed_by_another_meanwhile(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    model = stored(library, "org/model:Q4_0")
    Library().remove("model")

    def late(self: Library) -> list[Model]:
        return [model]

    monkeypatch.setattr(Library, "models", late)
    with pytest.raises(NotFoundError, match="removed by another localq"):
        library.remove("model")
    assert model.format is ModelFormat.GGUF
