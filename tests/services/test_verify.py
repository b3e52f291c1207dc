"""Hashes kept, compared and told of; files of the same content."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from localq.errors import Cancelled, NotFoundError
from localq.events import JobEvent, Progress, ignore
from localq.library import Library, ModelSource
from localq.library.hashes import FileHash, SaidBy, hash_file
from localq.paths import Paths
from localq.services.library import duplicates as duplicates_service
from localq.services.library.duplicates import find_duplicates
from localq.services.library.import_models import ImportRequest, import_models
from localq.services.library.usage import disk_usage
from localq.services.library.verify import ModelCheck, Verdict, VerifyResult, mend, verify
from tests.small_models import checkpoint, gguf, split_gguf


def check(*names: str) -> VerifyResult:
    return verify(Library(), names, ignore, threading.Event())


def only(result: VerifyResult) -> ModelCheck:
    (model,) = result.models
    return model


def imported(path: Path, **options: object) -> Path:
    request = ImportRequest(paths=(path,), copy=True, **options)  # type: ignore[arg-type]
    result = import_models(Library(), request, ignore, threading.Event())
    return result.imported[0].model.path


def test_what_was_pulled_is_compared_with_the_hubs_hash(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"))
    library = Library()
    model = library.find("tiny")
    digest = sha256(path.read_bytes()).hexdigest()
    library.add(model, [path], {path: digest})
    (known,) = library.hashes.of_model(model.name).values()
    assert (known.sha256, known.said_by) == (digest, SaidBy.HUB)
    assert known.still_holds(path.stat())
    assert [file.verdict for file in only(check("tiny")).files] == [Verdict.OK]


@pytest.mark.parametrize(
    ("of_hub", "beside", "command"),
    [
        (True, False, "localq pull org/tiny@{0}:Q4_0 --force"),
        (False, True, "localq quantize q4_0 org/tiny --force"),
        (False, False, "localq pull org/tiny@{0} --as q4_0 --force"),
    ],
)
def test_how_a_gguf_is_got_back_depends_on_how_it_came(
    home: Paths, tmp_path: Path, of_hub: bool, beside: bool, command: str
) -> None:
    library, commit = Library(), "0" * 40
    path = imported(gguf(tmp_path / "tiny.gguf"), name="org/tiny:Q4_0")
    if beside:
        imported(checkpoint(tmp_path / "base"), name="org/tiny")
    entry = replace(library.find("org/tiny:Q4_0"), source=ModelSource("org/tiny", commit))
    hashes = {path: sha256(path.read_bytes()).hexdigest()} if of_hub else {}
    model = library.add(entry, [path], hashes)
    with closing(sqlite3.connect(home.database)) as database:
        database.execute("DELETE FROM adoptions")  # as if it had been fetched
        database.commit()
    assert mend(library, model) == command.format(commit)


def test_where_no_hash_is_known_it_is_recorded(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"))
    library = Library()
    library.add(library.find("tiny"), [path])
    first = check("tiny")
    assert [file.verdict for file in only(first).files] == [Verdict.RECORDED]
    assert first.good
    assert [file.verdict for file in only(check("tiny")).files] == [Verdict.OK]


def test_a_flipped_byte_in_a_linked_file(home: Paths, tmp_path: Path) -> None:
    """As when the program whose file it is too changes it in place."""
    source = gguf(tmp_path / "tiny.gguf")
    request = ImportRequest(paths=(source,))
    import_models(Library(), request, ignore, threading.Event())
    assert check().good
    status = source.stat()
    with source.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = only(check())
    assert [file.verdict for file in found.files] == [Verdict.CHANGED]
    assert (found.problems, found.good) == ((), False)
    assert found.mend is not None
    assert "localq rm local/tiny:Q4_0" in found.mend


def test_what_else_may_be_wrong(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    found = only(check())
    assert [file.verdict for file in found.files] == [Verdict.WRONG_SIZE]
    assert "does not lie within the file" in found.problems[0]
    path.write_bytes(b"x" * len(whole))
    assert "not a GGUF file" in only(check()).problems[0]
    path.unlink()
    found = only(check())
    assert [file.verdict for file in found.files] == [Verdict.MISSING]
    assert found.problems


def test_tensors_that_llama_cpp_would_not_take(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf", width=32))
    key = b"llama.embedding_length" + (4).to_bytes(4, "little")
    data = path.read_bytes()
    path.write_bytes(data.replace(key + bytes([32]), key + bytes([64])))
    assert "llama.cpp would not load it" in only(check()).problems[0]


def test_a_checkpoints_headers(home: Paths, tmp_path: Path) -> None:
    folder = imported(checkpoint(tmp_path / "base"))
    assert check("base").good
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"more.weight": "model.safetensors"}}')
    assert "1 tensors are not on disk" in only(check("base")).problems[0]
    index.unlink()
    (folder / "model.safetensors").write_bytes(bytes(100))
    found = only(check("base"))
    assert not found.good
    assert {file.path.name for file in found.files if not file.verdict.good} == {
        "model.safetensors"
    }


def test_shards(home: Paths, tmp_path: Path) -> None:
    first = imported(split_gguf(tmp_path / "in", "big-Q4_0", 3)[0])
    assert len(only(check()).files) == 3
    first.with_name(first.name.replace("00001-of", "00003-of")).unlink()
    assert "no such file" in only(check()).problems[0]


def test_stopping(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"))
    cancel = threading.Event()

    def stop(event: JobEvent) -> None:
        if isinstance(event, Progress):
            assert event.done <= event.total
            cancel.set()

    imported(gguf(tmp_path / "more.gguf", fill=b"\x02"))
    with pytest.raises(Cancelled):
        verify(Library(), (), stop, cancel)
    with pytest.raises(NotFoundError):
        check("nothing")


def test_an_empty_library_has_nothing_to_verify(home: Paths) -> None:
    with pytest.raises(NotFoundError, match="no models yet"):
        check()


def test_a_hash_that_is_none_is_refused(home: Paths, tmp_path: Path) -> None:
    imported(gguf(tmp_path / "tiny.gguf"))
    library = Library()
    (place,) = library.hashes.all()
    for text in ("", "g" * 64, "A" * 64, "0" * 63):
        with pytest.raises(Exception, match="is not a SHA-256"):
            library.hashes.record(place, FileHash(text, SaidBy.HUB))
    with pytest.raises(Exception, match="removed by another"):
        library.hashes.record("nothing", FileHash("0" * 64, SaidBy.HUB))


@pytest.mark.skipif(os.name == "nt", reason="counts links the POSIX way")
def test_duplicates_become_one_file(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates_service, "_SMALLEST", 1)
    source = gguf(tmp_path / "tiny.gguf")
    first, second = imported(source, name="a/one"), imported(source, name="a/two")
    other = imported(gguf(tmp_path / "other.gguf", fill=b"\x07"))
    size = first.stat().st_size
    assert disk_usage(Library()).models_bytes == 3 * size
    cancel = threading.Event()
    found = find_duplicates(Library(), ignore, cancel)
    (duplicate,) = found.duplicates
    assert (duplicate.files, duplicate.models) == ((first, second), ("a/one:Q4_0", "a/two:Q4_0"))
    assert (found.saves_bytes, found.linked) == (size, False)
    assert not first.samefile(second)
    assert find_duplicates(Library(), ignore, cancel, link=True).saves_bytes == size
    assert first.samefile(second)
    assert other.read_bytes() != first.read_bytes()
    usage = disk_usage(Library())
    assert usage.models_bytes == 2 * size
    assert {one.model.name: one.frees_bytes for one in usage.models} == {
        "a/one:Q4_0": 0,
        "a/two:Q4_0": 0,
        "local/other:Q4_0": size,
    }
    assert find_duplicates(Library(), ignore, cancel).duplicates == ()
    assert check().good


def test_each_file_is_read_once(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates_service, "_SMALLEST", 1)
    source = gguf(tmp_path / "tiny.gguf")
    paths = [imported(source, name="a/one"), imported(source, name="a/two")]
    read: list[Path] = []

    def counted(path: Path, *rest: object) -> str:
        read.append(path)
        return hash_file(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(duplicates_service, "hash_file", counted)
    find_duplicates(Library(), ignore, threading.Event())
    assert read == []  # the copies were hashed as they were made
    os.utime(paths[0])
    find_duplicates(Library(), ignore, threading.Event())
    find_duplicates(Library(), ignore, threading.Event())
    assert read == [paths[0]]


def test_where_the_disk_went(home: Paths, tmp_path: Path) -> None:
    path = imported(gguf(tmp_path / "tiny.gguf"))
    size = path.stat().st_size
    home.partial.mkdir(parents=True, exist_ok=True)
    (home.partial / "half").write_bytes(b"12345")
    home.cache.mkdir(parents=True)
    (home.cache / "x").write_bytes(b"123")
    usage = disk_usage(Library())
    assert (usage.models_bytes, usage.partial_bytes, usage.cache_bytes) == (size, 5, 3)
    assert usage.other_bytes >= home.database.stat().st_size
    Library().remove("tiny")
    usage = disk_usage(Library())
    assert (usage.models_bytes, usage.trash_bytes, usage.partial_bytes) == (0, size, 5)
