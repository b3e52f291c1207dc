"""Taking in what is on the machine already: by link, reflink, reference, copy and move."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from localq.errors import (
    BadFileError,
    Cancelled,
    LibraryError,
    NotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Progress, ignore
from localq.library import Library, ModelFormat
from localq.library.adoptions import Way
from localq.library.hashes import SaidBy
from localq.library.linking import copy_file, reflink
from localq.paths import Paths
from localq.services.library import adopt as service
from localq.services.library.import_models import (
    Imported,
    ImportRequest,
    ImportResult,
    import_models,
)
from localq.services.library.locate import locate, locate_gguf
from tests.small_models import checkpoint, gguf, split_gguf

posix_only = pytest.mark.skipif(os.name == "nt", reason="links need a privilege")


def take(*paths: Path, **options: object) -> ImportResult:
    request = ImportRequest(paths=paths, **options)  # type: ignore[arg-type]
    return import_models(Library(), request, ignore, threading.Event())


def one(result: ImportResult) -> Imported:
    (imported,) = result.imported
    return imported


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "hard_link", lambda source, target: False)
    monkeypatch.setattr(service, "reflink", lambda source, target: False)


def test_a_hard_link(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "Tiny-1B-Q4_K_M.gguf", quant=15)
    taken = one(take(source))
    assert (taken.way, taken.saved_bytes) == (Way.HARD_LINK, source.stat().st_size)
    model = Library().find("tiny-1b")
    assert model.name == "local/Tiny-1B:Q4_K_M"
    assert (model.format, model.architecture, model.parameters) == (ModelFormat.GGUF, "llama", 32)
    assert model.path.samefile(source)
    assert not model.external
    assert list(home.partial.iterdir()) == []
    again = one(take(source))
    assert (again.already_there, again.model) == (True, model)
    assert Library().remove("tiny-1b").frees_bytes == 0
    assert source.exists()


def test_the_modules_of_a_sentence_transformer_belong_to_it(home: Paths, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "embedder")
    for place in ("modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"):
        (source / place).parent.mkdir(exist_ok=True)
        (source / place).write_text("[]")
    (source / "onnx").mkdir()
    (source / "onnx" / "config.json").write_text("{}")
    folder = one(take(source)).model.path
    assert {
        file.relative_to(folder).as_posix() for file in Library().all_sizes()["local/embedder"]
    } == {
        *("config.json", "tokenizer.json", "model.safetensors"),
        *("modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"),
    }
    assert (folder / "1_Pooling" / "config.json").read_text() == "[]"


def test_a_dry_run_does_nothing(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "tiny.gguf")
    assert one(take(source, dry_run=True)).model.name == "local/tiny:Q4_0"
    assert not home.data.exists()


def test_a_reflink(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "hard_link", lambda source, target: False)

    def pretend(source: Path, target: Path) -> bool:
        shutil.copyfile(source, target)
        return True

    monkeypatch.setattr(service, "reflink", pretend)
    source = gguf(tmp_path / "tiny.gguf")
    assert one(take(source)).way is Way.REFLINK
    assert one(take(source)).already_there
    assert not Library().find("tiny").path.samefile(source)


def test_where_reflinks_cannot_be_nothing_is_left(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    if reflink(source, target):  # this test's disk can
        assert target.read_bytes() == b"x"
    else:
        assert not target.exists()


def test_a_reference_is_never_changed_or_deleted(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch)
    source = gguf(tmp_path / "other disk" / "tiny.gguf")
    taken = one(take(source))
    assert (taken.way, taken.saved_bytes) == (Way.REFERENCE, source.stat().st_size)
    library = Library()
    model = library.find("tiny")
    assert (model.external, model.path) == (True, source)
    assert locate_gguf(library, "tiny").path == source
    assert list(home.models.rglob("*")) == []
    assert one(take(source)).already_there
    removed = library.remove("tiny")
    assert (removed.trash_id, removed.frees_bytes) == (None, 0)
    assert source.exists()
    assert library.models() == []


def test_a_new_model_in_place_of_a_reference_leaves_its_files(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        no_links(patch)
        source = gguf(tmp_path / "tiny.gguf")
        take(source)
    library = Library()
    old = library.find("tiny")
    path = gguf(library.gguf_path("local/tiny", "Q4_0"), fill=b"\x02")
    new = library.add(
        type(old)(
            **{f: getattr(old, f) for f in old.__slots__ if f not in ("path", "external")},
            path=path,
            external=False,
        ),
        [path],
    )
    assert library.models() == [new]
    assert source.exists()


def test_a_copy(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "tiny.gguf")
    taken = one(take(source, copy=True))
    assert (taken.way, taken.saved_bytes) == (Way.COPY, 0)
    library = Library()
    model = library.find("tiny")
    assert not model.path.samefile(source)
    (known,) = library.hashes.of_model(model.name).values()
    assert (known.sha256, known.said_by) == (
        sha256(source.read_bytes()).hexdigest(),
        SaidBy.RECORDED,
    )
    assert known.still_holds(model.path.stat())


def test_the_same_content_is_the_same_model_wherever_it_came_from(
    home: Paths, tmp_path: Path
) -> None:
    """As what `doctor` enters after the catalogue was lost."""
    source = gguf(tmp_path / "tiny.gguf")
    held = one(take(source, copy=True)).model
    with closing(sqlite3.connect(home.database)) as database:
        database.execute("DELETE FROM adoptions")
        database.commit()
    again = one(take(source))
    assert (again.already_there, again.model) == (True, held)
    content = source.read_bytes()
    source.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LibraryError, match="another model of that name"):
        take(source)


def test_a_copy_that_was_stopped_goes_on(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.library.linking._CHUNK", 64)
    source = gguf(tmp_path / "tiny.gguf")
    cancel = threading.Event()
    heard: list[int] = []

    def stop_soon(event: JobEvent) -> None:
        if isinstance(event, Progress):
            heard.append(event.done)
            cancel.set()

    request = ImportRequest(paths=(source,), copy=True)
    with pytest.raises(Cancelled):
        import_models(Library(), request, stop_soon, cancel)
    (half,) = home.partial.iterdir()
    assert half.read_bytes() == source.read_bytes()[:64]
    assert Library().models() == []
    copied: list[int] = []
    before = half.stat().st_ino
    import_models(
        Library(),
        request,
        lambda e: copied.append(e.done) if isinstance(e, Progress) else None,
        threading.Event(),
    )
    path = Library().find("tiny").path
    assert path.stat().st_ino == before  # the same file, gone on with
    assert path.read_bytes() == source.read_bytes()
    assert copied[-1] == source.stat().st_size


def test_a_source_that_changes_under_the_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x" * 100)

    def change(count: int) -> None:
        with source.open("ab") as file:
            file.write(b"y")
        os.utime(source, (0, 0))

    with pytest.raises(BadFileError, match="changed while"):
        copy_file(source, target, threading.Event(), change)
    assert not target.exists()


def test_no_room_for_a_copy(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StorageError, match="a copy needs") as caught:
        take(gguf(tmp_path / "tiny.gguf"), copy=True)
    assert "localq trash empty" in str(caught.value.hint)


def test_a_move(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "tiny.gguf")
    inode = source.stat().st_ino
    assert one(take(source, move=True)).way is Way.MOVE
    assert not source.exists()
    assert Library().find("tiny").path.stat().st_ino == inode


def test_a_move_to_another_disk(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_same_disk", lambda library, found: False)
    source = gguf(tmp_path / "tiny.gguf")
    data = source.read_bytes()
    assert one(take(source, move=True)).way is Way.MOVE
    assert not source.exists()
    assert Library().find("tiny").path.read_bytes() == data


def test_shards_are_one_model_whichever_is_named(home: Paths, tmp_path: Path) -> None:
    shards = split_gguf(tmp_path / "in", "Big-Q4_0", 3)
    result = take(shards[1], shards[2])
    model = one(result).model
    assert (model.name, model.parameters) == ("local/Big:Q4_0", 96)
    assert model.path.name == "Big-Q4_0-00001-of-00003.gguf"
    assert model.size_bytes == sum(shard.stat().st_size for shard in shards)
    assert len(Library().files(model)) == 3
    named = locate(Library(), str(shards[1]))
    assert (named.path, named.parameters) == (shards[0], 96)
    shards[2].unlink()
    with pytest.raises(NotFoundError, match="00003"):
        take(shards[0])


def test_a_checkpoint(home: Paths, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "My Model")
    (folder / "optimizer.pt").write_bytes(b"large")
    (folder / "run.py").write_text("import os")
    model = one(take(folder)).model
    assert (model.name, model.quant, model.parameters) == ("local/My-Model", "BF16", 8)
    assert sorted(path.name for path in model.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert one(take(folder)).already_there
    with pytest.raises(UsageError, match="a part of a checkpoint"):
        take(folder / "model.safetensors")
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        take(tmp_path)


@posix_only
def test_a_checkpoint_in_another_place_by_reference(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch)
    folder = checkpoint(tmp_path / "mine")
    model = one(take(folder, name="org/mine")).model
    assert (model.external, model.path) == (True, folder)
    assert Library().find_checkpoint("mine").path == folder


@pytest.mark.parametrize(
    ("metadata", "file", "name"),
    [
        ({"name": "Meta Llama 3.1"}, "Llama-3.1-8B-Q4_0.gguf", "local/Llama-3.1-8B:Q4_0"),
        ({"name": "Meta Llama 3.1", "organization": "Meta"}, "x.gguf", "Meta/Meta-Llama-3.1:Q4_0"),
        (
            {"basename": "Qwen2.5", "size_label": "7B", "finetune": "Instruct"},
            "ggml-model.gguf",
            "local/Qwen2.5-7B-Instruct:Q4_0",
        ),
        ({"name": "../../../etc/passwd"}, "x.gguf", "local/etc-passwd:Q4_0"),
        ({"name": "a\x1b[2J\u202eb"}, "x.gguf", "local/a[2Jb:Q4_0"),
        ({"name": "nul"}, "x.gguf", "local/model:Q4_0"),
        ({"name": "..."}, "x.gguf", "local/model:Q4_0"),
        ({"name": "x" * 10_000}, "x.gguf", f"local/{'x' * 96}:Q4_0"),
        ({"organization": ".trash", "name": "a b"}, "x.gguf", "trash/a-b:Q4_0"),
        ({}, "some model.gguf", "local/some-model:Q4_0"),
        ({}, "m-UD-Q4_K_XL.gguf", "local/m:UD-Q4_K_XL"),
    ],
)
def test_names(home: Paths, tmp_path: Path, metadata: dict[str, str], file: str, name: str) -> None:
    source = gguf(tmp_path / file, **metadata)  # type: ignore[arg-type]
    assert one(take(source)).model.name == name


def test_a_name_of_the_users(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "tiny.gguf")
    for wrong in ("a/b/c", "../x", "org/nul", "x:", ".trash/x", "a\x1b"):
        with pytest.raises(UsageError):
            take(source, name=wrong)
    assert one(take(source, name="me/mine:BEST")).model.name == "me/mine:BEST"
    other = gguf(tmp_path / "other.gguf", fill=b"\x02")
    with pytest.raises(LibraryError, match="there is another model of that name"):
        take(other, name="me/mine:best")


def test_what_is_no_model(home: Paths, tmp_path: Path) -> None:
    text = tmp_path / "x.gguf"
    text.write_text("hello")
    with pytest.raises(BadFileError, match="not a GGUF file"):
        take(text)
    with pytest.raises(UnsupportedError, match="is no LoRA adapter"):
        take(gguf(tmp_path / "adapter.gguf", type="adapter"))
    for kind in ("imatrix", "mmproj"):
        with pytest.raises(UnsupportedError, match="not a model that can be run"):
            take(gguf(tmp_path / f"{kind}.gguf", type=kind))
    with pytest.raises(NotFoundError, match="no such file"):
        take(tmp_path / "nothing.gguf")
    for options in ({}, {"copy": True, "move": True}):
        with pytest.raises(UsageError):
            take(*([text] if options else []), **options)
    # Of several, the rest is taken.
    result = take(text, gguf(tmp_path / "good.gguf"))
    assert [skipped.label for skipped in result.skipped] == [str(text)]
    assert one(result).model.name == "local/good:Q4_0"


def test_a_model_whose_tensors_are_of_another_is_refused(home: Paths, tmp_path: Path) -> None:
    with pytest.raises(
        BadFileError, match=r"token_embd\.weight has shape \[32\], but .* \[64, 1\]"
    ):
        take(gguf(tmp_path / "bad.gguf", width=64))
    assert take(gguf(tmp_path / "good.gguf", width=32)).imported


def test_what_is_in_the_library_is_not_taken_in_again(home: Paths, tmp_path: Path) -> None:
    model = one(take(gguf(tmp_path / "tiny.gguf"))).model
    with pytest.raises(LibraryError, match="in localq's own folder already"):
        take(model.path)


@posix_only
def test_links_that_lead_out_of_a_checkpoint(home: Paths, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "evil")
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(secret)
    with pytest.raises(BadFileError, match="leads elsewhere"):
        take(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("tokenizer.json")
    with pytest.raises(BadFileError):
        take(folder)
    assert Library().models() == []


@posix_only
def test_a_link_to_a_model_is_the_model(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "deep" / "blob.gguf")
    link = tmp_path / "Nice-Q4_0.gguf"
    link.symlink_to(source)
    with pytest.raises(UsageError, match="is a link"):
        take(link, move=True)
    model = one(take(link)).model
    assert model.path.samefile(source)
    assert not model.path.is_symlink()
    with pytest.raises(UsageError, match="is a link"):
        take(link, move=True)
    assert source.exists()


def test_a_failure_leaves_nothing(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = split_gguf(tmp_path / "in", "big-Q4_0", 2)
    admit = Library.admit

    def fail(library: Library, partial: Path, final: Path, *, replace: bool = False) -> None:
        if "00002" in final.name:
            raise StorageError("the disk is full")
        admit(library, partial, final, replace=replace)

    monkeypatch.setattr(Library, "admit", fail)
    for options in ({}, {"copy": True}, {"move": True}):
        with pytest.raises(StorageError):
            take(shards[0], **options)
        assert [path for path in home.models.rglob("*") if path.is_file()] == []
        assert all(shard.is_file() for shard in shards)
    monkeypatch.undo()
    monkeypatch.setenv("LOCALQ_HOME", str(home.data.parent))
    assert one(take(shards[0], copy=True)).way is Way.COPY


def test_what_a_killed_import_left_is_welcome(home: Paths, tmp_path: Path) -> None:
    source = gguf(tmp_path / "tiny.gguf")
    place = Library().gguf_path("local/tiny", "Q4_0")
    place.parent.mkdir(parents=True)
    place.hardlink_to(source)
    assert one(take(source)).way is Way.HARD_LINK
    other = Library().gguf_path("local/other", "Q4_0")
    gguf(other, fill=b"\x09")
    with pytest.raises(LibraryError, match="is there already") as caught:
        take(gguf(tmp_path / "other.gguf"))
    assert caught.value.hint == "localq doctor --repair looks into it"


def test_a_link_refused_by_the_system_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localq.library.linking import hard_link

    def refuse(number: int) -> Callable[..., None]:
        def link(*args: object, **options: object) -> None:
            raise OSError(number, os.strerror(number))

        return link

    for number in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
        monkeypatch.setattr(os, "link", refuse(number))
        assert not hard_link(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(os, "link", refuse(errno.EEXIST))
    with pytest.raises(FileExistsError):
        hard_link(tmp_path / "a", tmp_path / "b")
