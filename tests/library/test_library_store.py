"""File names, and how files become finished."""

from __future__ import annotations

import errno
import ntpath
import os
import platform
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localq.errors import LibraryError, StorageError, UsageError
from localq.library.store import Store, finish, partial_path, safe_component, sweep_partials
from localq.partials import sync_folder

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file systems")


@pytest.mark.parametrize(
    "name",
    [
        *("SmolLM2-135M-Instruct", "model.safetensors", ".gitattributes", "Qwen3.5", "模型", "é"),
        *("a b", "console", "nullable.txt", "com", "COM10", "x" * 255, "~", "-rf"),
    ],
)
def test_ordinary_names_are_safe(name: str) -> None:
    assert safe_component(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (".", "another folder"),
        ("..", "another folder"),
        ("a/b", "holds '/'"),
        ("/etc", "holds '/'"),
        ("a\\b", r"holds '\\\\'"),
        ("C:", "holds ':'"),
        ("a:stream", "holds ':'"),
        ("what?", "holds '\\?'"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("a\x1b[2J", "control"),
        ("gguf.\u202eexe", "control"),
        ("\ud800", "control"),
        ("a\u2028b", "control"),
        ("a.", "ends with a dot"),
        ("...", "ends with a dot"),
        ("a ", "ends with a space"),
        (" a", "begins"),
        ("NUL", "device"),
        ("nul.gguf", "device"),
        ("Con .tar.gz", "device"),
        ("com1", "device"),
        ("LPT9.bin", "device"),
        ("COM¹", "device"),
        ("conin$", "device"),
        ("x" * 256, "longer"),
        ("é" * 128, "longer"),
        ("e\u0301", "NFC"),
    ],
)
def test_dangerous_names_are_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        safe_component(name)
    assert caught.value.message.isprintable()


def is_reserved_on_windows(name: str) -> bool:
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


@given(
    st.one_of(
        st.text(max_size=300),
        st.text(alphabet="./\\:~ \x00aA\u202e", max_size=8),
        st.from_regex(r"(?i)(con|prn|aux|nul|com\d|lpt\d) ?(\..*)?", fullmatch=True),
    )
)
@example("\ud800")
@settings(deadline=None)
def test_a_safe_component_is_one_component_everywhere(name: str) -> None:
    try:
        safe_component(name)
    except UsageError:
        return
    assert PurePosixPath("/root", name).parts == ("/", "root", name)
    assert PureWindowsPath("C:/root", name).parts == ("C:\\", "root", name)
    assert not is_reserved_on_windows(name)
    assert os.path.normpath(f"root/{name}") == str(Path("root", name))
    assert os.fsencode(name) == name.encode()
    assert len(name.encode()) <= 255
    assert not any(ord(character) < 32 for character in name)
    assert unicodedata.normalize("NFC", name) == name


@posix_only
@given(st.text(min_size=1, max_size=90))
@settings(deadline=None, max_examples=50)
def test_a_safe_component_can_be_made(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        safe_component(name)
    except UsageError:
        return
    folder = tmp_path_factory.mktemp("names")
    (folder / name).write_bytes(b"x")
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_partial_name_is_hidden_fresh_and_beside(tmp_path: Path) -> None:
    final = tmp_path / "model-Q4_0.gguf"
    first, second = partial_path(final), partial_path(final)
    assert first != second
    assert first.parent == tmp_path
    assert first.name.startswith(".model-Q4_0.gguf.")
    assert first.suffix == ".partial"
    assert str(os.getpid()) in first.name
    for long in ("x" * 255, "é" * 127):
        assert len(partial_path(tmp_path / long).name.encode()) <= 255


def test_finishing_gives_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "final"
    partial = partial_path(final)
    partial.write_bytes(b"whole")
    finish(partial, final, replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert final.read_bytes() == b"whole"


def test_finishing_replaces_only_when_told(tmp_path: Path) -> None:
    final = tmp_path / "final"
    final.write_bytes(b"old")
    partial = partial_path(final)
    partial.write_bytes(b"new")
    with pytest.raises(LibraryError, match="final: is there already") as caught:
        finish(partial, final, replace=False)
    assert caught.value.hint == "replace it with --force"
    assert (final.read_bytes(), partial.read_bytes()) == (b"old", b"new")
    finish(partial, final, replace=True)
    assert final.read_bytes() == b"new"
    assert not partial.exists()


def test_a_folder_or_dangling_link_is_not_replaced(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LibraryError):
        finish(partial, tmp_path / "folder", replace=False)
    with pytest.raises(StorageError):
        finish(partial, tmp_path / "folder", replace=True)
    if os.name != "nt":
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(LibraryError):
            finish(partial, tmp_path / "link", replace=False)
    with pytest.raises(StorageError):
        finish(tmp_path / "missing", tmp_path / "final", replace=False)
    assert partial.exists()


@posix_only
def test_finishing_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", unsupported)
    final, partial = tmp_path / "final", tmp_path / "partial"
    partial.write_bytes(b"first")
    finish(partial, final, replace=False)
    assert final.read_bytes() == b"first"
    partial.write_bytes(b"second")
    with pytest.raises(LibraryError):
        finish(partial, final, replace=False)
    assert final.read_bytes() == b"first"

    def elsewhere(path: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", elsewhere)
    with pytest.raises(StorageError, match="cross-device"):
        finish(partial, tmp_path / "other", replace=False)
    assert not (tmp_path / "other").exists()
    assert partial.read_bytes() == b"second"


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_finish_at_once_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def unsupported(path: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", unsupported)
    final = tmp_path / "final"
    together = threading.Barrier(8)
    won: list[bytes] = []

    def race(number: int) -> None:
        partial = partial_path(final)
        partial.write_bytes(b"%d" % number)
        together.wait()
        try:
            finish(partial, final, replace=False)
        except LibraryError:
            partial.unlink()
        else:
            won.append(b"%d" % number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [final.read_bytes()] == won
    assert list(tmp_path.iterdir()) == [final]


@posix_only
def test_a_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_with(number: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    fail_with(errno.EINVAL)  # some network file systems
    sync_folder(tmp_path)
    fail_with(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    final = tmp_path / "model.gguf"
    ours = partial_path(final)
    machine, pid, run = ours.name.removesuffix(".partial").rpartition(".")[2].split("-")
    assert pid == str(os.getpid())

    def left(machine: str, pid: int, run: str, ending: str = "") -> Path:
        return tmp_path / f".model.gguf.{machine}-{pid}-{run}.partial{ending}"

    dead = dead_pid()
    swept = [
        left(machine, dead, run),
        left(machine, dead, run, "-wal"),
        left(machine, os.getpid(), "0" * 16),  # a former process that had our number
        left(machine, 2**33 - 1, run),  # a number no process can have
    ]
    abandoned = left("00000000", dead, run)
    kept = [
        ours,
        left(machine, os.getppid(), run),
        left("ffffffff", dead, run),  # of another machine: who knows
        tmp_path / "model.partial",
        tmp_path / f".model.gguf.{dead}.partial",
        final,
    ]
    for path in [*swept, abandoned, *kept]:
        path.write_bytes(b"x")
    os.utime(abandoned, (0, 0))
    folder = left(machine, dead, "1" * 16)
    folder.mkdir()
    assert set(sweep_partials(tmp_path)) == {*swept, abandoned}
    assert set(tmp_path.iterdir()) == {*kept, folder}
    assert sweep_partials(tmp_path) == []
    assert sweep_partials(tmp_path / "nowhere") == []
    assert sweep_partials(final) == []


def test_sweeping_goes_on_past_what_it_may_not_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = partial_path(tmp_path / "x").name.rpartition("-")[0].rpartition("-")[0][-8:]
    path = tmp_path / f".x.{machine}-{dead_pid()}-{'0' * 16}.partial"
    path.write_bytes(b"x")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "in use")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert sweep_partials(tmp_path) == []
    assert sweep_partials(tmp_path) == [path]


def test_machines_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = partial_path(tmp_path / "x").name
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert partial_path(tmp_path / "x").name.split("-")[0] != here.split("-")[0]


@posix_only
def test_a_process_of_another_user_counts_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = partial_path(tmp_path / "x").name.split("-")
    path = tmp_path / f"{parts[0]}-1-{parts[2]}"
    path.write_bytes(b"x")

    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", forbidden)
    assert sweep_partials(tmp_path) == []


def test_admitting_survives_a_folder_that_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "models")
    partial, final = tmp_path / "partial", store.root / "org" / "model" / "file"
    partial.write_bytes(b"x")
    made: list[Path] = []
    mkdir = Path.mkdir

    def made_and_cleared(
        path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
    ) -> None:
        mkdir(path, mode, parents, exist_ok)
        if path == final.parent:
            made.append(path)
            if len(made) == 1:
                path.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_cleared)
    store.admit(partial, final)
    assert final.read_bytes() == b"x"
    assert len(made) > 1
    with pytest.raises(StorageError):
        store.admit(partial, store.root / "org" / "model" / "again")
