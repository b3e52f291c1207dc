"""What the doctor finds, what repairs do, and that nothing wanted is lost by them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from localq.errors import Cancelled
from localq.events import JobEvent, Note, ignore
from localq.library import Library
from localq.library.hashes import SaidBy
from localq.library.store import TRASH
from localq.partials import partial_path
from localq.paths import Paths
from localq.quantize.codecs.fast import FastCodecs
from localq.quantize.codecs.library import Absent
from localq.quantize.native import load_codecs
from localq.services.doctor import leftovers, orphans
from localq.services.doctor.doctor import CHECKS, DoctorResult, doctor
from localq.services.library.import_models import ImportRequest, import_models
from localq.services.library.verify import verify
from tests.library.test_library_model import entry
from tests.small_models import checkpoint, gguf, split_gguf


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for files that may still be arriving: the tests know that they are not."""
    monkeypatch.setattr(orphans, "_SETTLE_SECONDS", 0.0)


def look(*, repair: bool = False) -> DoctorResult:
    return doctor(Library(), ignore, threading.Event(), repair=repair)


def problems() -> list[tuple[str, str]]:
    return [(finding.check, finding.problem) for finding in look().findings]


def mended() -> None:
    result = look(repair=True)
    assert result.findings
    assert result.healthy, result.findings
    assert look().findings == ()


def imported(path: Path, name: str | None = None) -> Path:
    request = ImportRequest(paths=(path,), copy=True, name=name)
    result = import_models(Library(), request, ignore, threading.Event())
    return result.imported[0].model.path


def test_a_healthy_library(home: Paths, tmp_path: Path) -> None:
    assert look().findings == ()
    assert not home.data.exists()
    imported(gguf(tmp_path / "tiny.gguf"))
    imported(checkpoint(tmp_path / "base"))
    imported(split_gguf(tmp_path / "in", "big-Q4_0")[0])
    Library().remove("base")
    result = look()
    assert (result.findings, result.healthy) == ((), True)


def test_codecs_that_are_broken(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = FastCodecs(load_codecs(), Absent("cannot be loaded", "compile them"))
    monkeypatch.setattr("localq.services.doctor.codecs.load_fast_codecs", lambda: broken)
    assert problems() == [("codecs", "quantizing is slow: cannot be loaded")]


def test_what_quantizing_uses_is_told(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    without = FastCodecs(load_codecs(), Absent("this processor has no AVX2"))
    monkeypatch.setattr("localq.services.doctor.codecs.load_fast_codecs", lambda: without)
    events: list[JobEvent] = []
    assert doctor(Library(), events.append, threading.Event()).healthy
    assert Note("quantizing uses the engine's codecs: this processor has no AVX2") in events


def test_every_check_can_be_imported() -> None:
    from importlib import import_module

    for place in CHECKS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


def test_whole_orphans_enter_the_library(home: Paths) -> None:
    library = Library()
    gguf(library.gguf_path("org/tiny", "Q4_0"))
    split_gguf(library.checkpoint_folder("org/big"), "big-Q8_0")
    checkpoint(library.checkpoint_folder("org/base"))
    found = look()
    assert [finding.remedy for finding in found.findings] == [
        "enters it into the library as org/base",
        "enters it into the library as org/big:Q8_0",
        "enters it into the library as org/tiny:Q4_0",
    ]
    assert library.models() == []  # only looked
    mended()
    assert [model.name for model in library.models()] == [
        "org/base",
        "org/big:Q8_0",
        "org/tiny:Q4_0",
    ]
    assert verify(library, (), ignore, threading.Event()).good


def test_other_orphans_go_into_the_trash(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    folder = home.models / "org" / "tiny"
    (folder / "notes.txt").write_text("mine")
    (folder / "half.gguf").write_bytes(b"GGUF")
    split_gguf(folder, "part-Q4_0")[0].unlink()
    (folder / ".DS_Store").write_bytes(b"x")
    (found,) = look().findings
    assert "nor do 2 more" in found.problem
    mended()
    library = Library()
    (trashed,) = library.trash.entries()
    assert sorted(path.name for path in trashed.files) == [
        "half.gguf",
        "notes.txt",
        "part-Q4_0-00002-of-00002.gguf",
    ]
    assert [model.name for model in library.models()] == ["org/tiny:Q4_0"]
    library.trash.restore(trashed)
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_orphan_whose_name_is_taken_goes_into_the_trash(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    library = Library()
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("UPDATE files SET path = 'org/tiny/moved.gguf'")
        database.execute("UPDATE models SET path = 'org/tiny/moved.gguf'")
    shutil.copy(path, path.with_name("moved.gguf"))
    mended()
    assert [one.files[0].name for one in library.trash.entries()] == ["tiny-Q4_0.gguf"]
    assert len(library.models()) == 1


@pytest.mark.skipif(os.name == "nt", reason="names that Windows has not")
def test_an_orphan_with_a_hostile_name_is_only_told_of(home: Paths) -> None:
    home.models.mkdir(parents=True)
    (home.models / "a\x1b[2J.gguf").write_bytes(b"x")
    (found,) = look(repair=True).findings
    assert (found.repairable, found.repaired) == (False, False)
    assert (home.models / "a\x1b[2J.gguf").exists()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege")
def test_links_are_not_followed(home: Paths, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    gguf(elsewhere / "x-Q4_0.gguf")
    home.models.mkdir(parents=True)
    (home.models / "org").symlink_to(elsewhere, target_is_directory=True)
    look(repair=True)
    assert (elsewhere / "x-Q4_0.gguf").exists()
    assert Library().models() == []


def test_a_file_that_is_just_arriving_is_no_orphan(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    path = gguf(library.gguf_path("org/tiny", "Q4_0"))
    monkeypatch.setattr(orphans, "_SETTLE_SECONDS", 60.0)
    entered = threading.Event()

    class Waiting(threading.Event):
        """In the meantime the process that put the file there enters it."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            assert 0 < timeout <= 60
            library.add(entry("org/tiny:Q4_0", path=path), [path])
            entered.set()
            return False

    assert doctor(library, ignore, Waiting()).findings == ()
    assert entered.is_set()


def test_a_download_under_way_is_left_alone(home: Paths) -> None:
    folder = home.partial / "org" / "tiny"
    (folder / "commit").mkdir(parents=True)
    (folder / "commit" / "model.gguf").write_bytes(b"half")
    lock = FileLock(folder / ".lock")
    with lock:
        gguf(Library().gguf_path("org/tiny", "Q4_0"))
        (folder / "empty").mkdir()
        assert look().findings == ()
        (folder / "empty").rmdir()
    assert [check for check, _ in problems()] == ["orphans"]


def test_leftovers(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home.partial / "org" / "old"
    (folder / "commit").mkdir(parents=True)
    (folder / ".lock").touch()
    half = folder / "commit" / "model.gguf"
    half.write_bytes(b"half")
    assert look().findings == ()  # may be gone on with
    for path in (half, folder / "commit"):
        os.utime(path, (0, 0))
    done = home.partial / "org" / "done"
    done.mkdir()
    (done / ".lock").touch()
    (home.models / "a" / "b").mkdir(parents=True)
    ours = partial_path(home.models / "a" / "x.gguf")
    ours.write_bytes(b"x")
    dead = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{2**33 - 1}-"))
    dead.write_bytes(b"x")
    assert len(problems()) == 4
    result = look(repair=True)
    assert result.healthy
    assert ours.exists()
    assert not dead.exists()
    assert not half.exists()
    assert not done.exists()
    assert not (home.models / "a" / "b").exists()
    assert leftovers.in_use(home.partial / "nothing") is False


def test_missing_files(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny").unlink()
    base = imported(checkpoint(tmp_path / "base"), name="org/base")
    (base / "tokenizer.json").unlink()
    found = [one for one in look(repair=True).findings if one.check == "missing files"]
    assert [(one.repairable, one.repaired) for one in found] == [(False, False), (True, True)]
    assert "tokenizer.json is gone" in found[0].problem
    assert "localq rm org/base" in found[0].remedy
    assert [model.name for model in Library().models()] == ["org/base"]


def test_a_reference_that_leads_nowhere(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.services.library.adopt.hard_link", lambda *_: False)
    monkeypatch.setattr("localq.services.library.adopt.reflink", lambda *_: False)
    source = gguf(tmp_path / "tiny.gguf")
    import_models(Library(), ImportRequest(paths=(source,)), ignore, threading.Event())
    assert look().findings == ()
    source.unlink()
    assert "where it lay" in problems()[0][1]
    mended()
    assert Library().models() == []


def test_sizes_that_drifted(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    with path.open("ab") as file:
        file.write(b"more")
    (found,) = look().findings
    assert found.check == "sizes"
    mended()
    assert Library().find("tiny").size_bytes == path.stat().st_size
    path.write_bytes(path.read_bytes()[:100])
    (found,) = look(repair=True).findings
    assert (found.repairable, found.repaired) == (False, False)
    assert "localq rm org/tiny:Q4_0" in found.remedy


def test_a_lost_catalogue_is_found_again(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    pooling = checkpoint(tmp_path / "base") / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    pooling.write_text("{}")
    (tmp_path / "base" / "modules.json").write_text("[]")
    imported(tmp_path / "base", name="org/base")
    whole = Library().find("base").size_bytes
    imported(gguf(tmp_path / "gone.gguf", fill=b"\x05"), name="org/gone")
    Library().remove("gone")
    for path in home.data.glob("localq.db*"):
        path.unlink()
    mended()
    library = Library()
    assert [model.name for model in library.models()] == ["org/base", "org/tiny:Q4_0"]
    base = library.find("base")
    assert (base.path / "1_Pooling" / "config.json").read_text() == "{}"
    assert base.size_bytes == whole
    (trashed,) = library.trash.entries()
    library.trash.restore(trashed)
    assert library.models()[-2].path.read_bytes()[-1:] == b"\x05"


def test_a_damaged_catalogue_is_told_of(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"))
    data = bytearray(home.database.read_bytes())
    data[4096 * 3 :] = os.urandom(len(data) - 4096 * 3)
    home.database.write_bytes(data)
    found = look(repair=True)
    assert not found.healthy
    assert any("damaged" in one.problem for one in found.findings)


def test_a_catalogue_that_is_none_is_told_of_once(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"))
    home.database.write_bytes(os.urandom(4096))
    assert [check for check, _ in problems()] == ["database"]


def test_trash_that_does_not_add_up(home: Paths, tmp_path: Path) -> None:
    library = Library()
    for name in ("all", "some"):
        imported(checkpoint(tmp_path / name), name=f"org/{name}")
        library.remove(name)
    entries = {one.model.name: one for one in library.trash.entries()}
    for path in entries["org/all"].files:
        path.unlink()
    entries["org/some"].files[0].unlink()
    odd = home.models / TRASH / "what" / "x"
    odd.parent.mkdir(parents=True)
    odd.write_bytes(b"x")
    found = look(repair=True).findings
    assert [(one.check, one.repaired) for one in found] == [
        ("trash", False),
        ("trash", True),
        ("trash", False),
    ]
    assert odd.exists()
    assert [one.model.name for one in library.trash.entries()] == ["org/some"]


def test_a_repair_that_fails_is_told_and_the_rest_done(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf(Library().gguf_path("org/one", "Q4_0"))
    gguf(Library().gguf_path("org/two", "Q4_0"))
    add = Library.add

    def refuse(library: Library, model: object, *rest: object) -> object:
        if getattr(model, "name", "") == "org/one:Q4_0":
            raise OSError(28, "No space left on device")
        return add(library, model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Library, "add", refuse)
    result = look(repair=True)
    assert [(one.repaired, one.failure is None) for one in result.findings] == [
        (False, False),
        (True, True),
    ]
    assert not result.healthy


def test_stopping(home: Paths) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        doctor(Library(), ignore, cancel)


_KILLED = """
import sys, threading
from pathlib import Path
from localq.events import JobEvent, Note, ignore
from localq.library import Library
from localq.services.library.import_models import ImportRequest, import_models
print("ready", flush=True)
for number in range(1000):
    for way in ({}, {"copy": True}):
        request = ImportRequest(paths=(Path(sys.argv[1]), Path(sys.argv[2])), **way)
        import_models(Library(), request, ignore, threading.Event())
        for model in Library().models():
            if model.name != "org/kept:Q4_0":
                Library().remove(model.name)
        for entry in Library().trash.entries()[:1]:
            Library().trash.restore(entry)
            Library().remove(entry.model.name)
    Library().trash.empty(Library().trash.entries()[2:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_the_library_recovers(
    home: Paths, tmp_path: Path, seed: int
) -> None:
    kept = imported(gguf(tmp_path / "kept.gguf", fill=b"\x03"), name="org/kept")
    shards = split_gguf(tmp_path / "in", "big-Q4_0", 3)
    folder = checkpoint(tmp_path / "base")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(shards[0]), str(folder)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.05, 0.6))
        process.kill()
    for model in Library().models():
        assert all(path.is_file() for path in Library().files(model)), model.name
    assert look(repair=True).healthy
    assert look().findings == ()
    library = Library()
    assert verify(library, (), ignore, threading.Event()).good
    assert library.find("kept").path == kept
    assert all(shard.is_file() for shard in shards)
    for path in (shards[0], folder):  # the work can be done again
        import_models(library, ImportRequest(paths=(path,)), ignore, threading.Event())
    assert {"local/base", "local/big:Q4_0"} <= {model.name for model in library.models()}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("way", ["link", "copy", "move"])
@pytest.mark.parametrize("already", range(4))
def test_an_import_killed_between_two_files_goes_on(
    home: Paths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    already: int,
    way: str,
) -> None:
    folder = checkpoint(tmp_path / "base")
    names = {path.name for path in folder.iterdir()}
    request = ImportRequest(paths=(folder,), copy=way == "copy", move=way == "move")
    admit, left = Library.admit, iter(range(already))

    def die(*_: object, **__: object) -> None:
        raise Killed

    def admit_or_die(library: Library, partial: Path, final: Path) -> None:
        if next(left, None) is None:
            die()
        admit(library, partial, final)

    with monkeypatch.context() as patched:
        patched.setattr(Library, "admit", admit_or_die)
        patched.setattr(Library, "add", die)
        with pytest.raises(Killed):
            import_models(Library(), request, ignore, threading.Event())
    assert look(repair=True).healthy
    import_models(Library(), request, ignore, threading.Event())
    (model,) = Library().models()
    assert {path.name for path in Library().files(model)} == names
    assert all(path.is_file() for path in Library().files(model))
    assert look().findings == ()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege")
@pytest.mark.parametrize("how", ["its folder is gone", "its folder is empty", "its link dangles"])
def test_models_of_a_disk_that_is_not_connected_are_kept(
    home: Paths, tmp_path: Path, how: str
) -> None:
    library = Library()
    disk = tmp_path / "disk"
    if how == "its link dangles":
        disk.mkdir()
        home.data.mkdir(parents=True)
        home.models.symlink_to(disk, target_is_directory=True)
        imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    else:
        path = gguf(disk / "tiny.gguf")
        model = replace(entry("org/tiny:Q4_0", path=path), external=True)
        library.add(model, [path])
    library.labels.add_alias("org/tiny:Q4_0", "mine")
    library.labels.set_note("org/tiny:Q4_0", "for work")
    disk.rename(tmp_path / "away")
    if how == "its folder is empty":
        disk.mkdir()
    result = look(repair=True)
    (found,) = [one for one in result.findings if one.check == "missing files"]
    assert (found.repairable, found.repaired) == (False, False)
    assert "connect the disk" in found.remedy
    assert library.find("mine").note == "for work"
    if disk.is_dir():
        disk.rmdir()
    (tmp_path / "away").rename(disk)
    assert look().healthy


def test_the_trash_of_a_disk_that_is_not_connected_is_kept(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    library = Library()
    library.remove("tiny")
    home.models.rename(tmp_path / "away")
    (found,) = look(repair=True).findings
    assert "connect the disk" in found.remedy
    (tmp_path / "away").rename(home.models)
    assert library.trash.restore(library.trash.find("tiny")).path.is_file()


def test_a_size_that_drifted_from_a_promised_content_is_damage(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny")
    library = Library()
    digest = sha256(path.read_bytes()).hexdigest()
    library.add(library.find("tiny"), [path], {path: digest}, SaidBy.MADE)
    with path.open("ab") as file:
        file.write(b"more")
    (found,) = look(repair=True).findings
    assert (found.check, found.repaired) == ("sizes", False)
    assert not verify(library, ("tiny",), ignore, threading.Event()).good
