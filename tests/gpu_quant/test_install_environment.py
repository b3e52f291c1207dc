"""Environments of backends, made from an index of the test's own: whole, or not there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from localq.errors import Cancelled, LibraryError, LocalqError, OfflineError, StorageError
from localq.events import JobEvent, Progress
from localq.gpu_quant.backend_packages import BackendPackages, Size
from localq.gpu_quant.environments import (
    environments_folder,
    find,
    forget,
    half_made,
    installing_lock,
    read_record,
    sweep,
)
from localq.gpu_quant.install_failures import HashMismatch
from localq.gpu_quant.installation import check_disk, install_environment
from localq.paths import Paths
from tests.hub_server import closed_port_url
from tests.package_index import PackageIndex

NAME = "tinybackend"
_INSTALL = """
import sys, threading
from pathlib import Path
from tests.gpu_quant.test_install_environment import install, tiny
from localq.paths import Paths
install(Paths.from_environment(), tiny(Path(sys.argv[1])))
"""


def tiny(lock: Path) -> BackendPackages:
    size = Size(10_000, 10_000)
    return BackendPackages(
        NAME, "for tests", lock, imports=("tinybackend",), sizes={"cpu": size}, torch="tinytorch"
    )


def install(
    paths: Paths, packages: BackendPackages, cancel: threading.Event | None = None
) -> list[JobEvent]:
    events: list[JobEvent] = []
    cancel = cancel or threading.Event()
    log = paths.log / "backend.log"
    python = Path(sys.executable)
    install_environment(paths, packages, "cpu", python, log, events.append, cancel)
    return events


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, home: Paths) -> Iterator[PackageIndex]:
    """An index with a backend, something that it needs, and what stands for torch."""
    with PackageIndex() as served:
        served.add("tinybackend", "1.0", {"tinybackend/__init__.py": "import needed, tinytorch"})
        served.add("needed", "2.0", {"needed.py": "x = 1"})
        served.add("tinytorch", "3.0", {"tinytorch.py": "y = 2"})
        for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(variable)
        settings = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": served.url,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "1",
            "NO_PROXY": "*",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def packages(index: PackageIndex, tmp_path: Path) -> BackendPackages:
    lock = tmp_path / "tinybackend.txt"
    lock.write_text("# made for a test\n" + index.lock_text(), encoding="utf-8")
    return tiny(lock)


def left(paths: Paths) -> list[str]:
    """What there is of environments."""
    folder = environments_folder(paths)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_an_environment_is_made_whole_and_replaced_only_by_a_whole_one(
    home: Paths, packages: BackendPackages, index: PackageIndex
) -> None:
    events = install(home, packages)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == 3
    found = find(NAME, home)
    assert found is not None
    assert {"tinybackend": "1.0", "needed": "2.0", "tinytorch": "3.0"}.items() <= dict(
        found.packages
    ).items()
    answer = subprocess.run(
        [found.python, "-c", "import tinybackend, sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(answer.stdout.strip()).samefile(found.folder)
    assert left(home) == sorted([found.folder.name, f"{NAME}.json"])
    record = read_record(home, NAME)
    assert record is not None
    assert record.lock == packages.lock_hash
    assert record.size_bytes > 0

    index.spoiled.add("needed")
    with pytest.raises(HashMismatch, match="needed") as refused:
        install(home, packages)
    assert "hash" in refused.value.message
    assert find(NAME, home) == found
    assert left(home) == sorted([found.folder.name, f"{NAME}.json"])


def test_no_network(
    home: Paths, packages: BackendPackages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", closed_port_url())
    with pytest.raises(OfflineError, match="cannot be reached"):
        install(home, packages)
    assert left(home) == []


def test_cancel_ends_pip_and_leaves_nothing(
    home: Paths, packages: BackendPackages, index: PackageIndex
) -> None:
    index.stall = "needed"
    cancel = threading.Event()

    def cancel_then() -> None:
        index.asked.wait()
        cancel.set()

    threading.Thread(target=cancel_then, daemon=True).start()
    with pytest.raises(Cancelled):
        install(home, packages, cancel)
    assert left(home) == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_leaves_only_what_the_next_command_sweeps(
    home: Paths, packages: BackendPackages, index: PackageIndex
) -> None:
    index.stall = "needed"
    process = subprocess.Popen([sys.executable, "-c", _INSTALL, str(packages.lock)])
    assert index.asked.wait(60)
    assert list(half_made(home)) == []  # somebody is at it
    with pytest.raises(LibraryError, match="already"):
        install(home, packages)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert find(NAME, home) is None
    (folder,) = half_made(home)
    _until(lambda: not _processes_of(folder))
    assert sweep(home) == [folder]
    assert left(home) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("seed", range(6))
def test_kills_at_random_moments(
    home: Paths, packages: BackendPackages, index: PackageIndex, seed: int
) -> None:
    began = time.monotonic()
    install(home, packages)
    whole = time.monotonic() - began
    before = find(NAME, home)
    process = subprocess.Popen([sys.executable, "-c", _INSTALL, str(packages.lock)])
    with suppress(subprocess.TimeoutExpired):
        process.wait(random.Random(seed).uniform(0.05, 1.1) * whole)
    process.kill()
    process.wait()
    now = find(NAME, home)
    assert now is not None  # the one before, or the new one: whole
    assert before is not None
    subprocess.run([now.python, "-c", "import tinybackend"], check=True)
    for folder in half_made(home):
        _until(lambda folder=folder: not _processes_of(folder))  # type: ignore[misc]
    sweep(home)
    assert [name for name in left(home) if not name.endswith(".lock")] == sorted(
        [now.folder.name, f"{NAME}.json"]
    )


def test_a_package_that_does_not_load_is_not_installed(
    home: Paths, packages: BackendPackages
) -> None:
    with pytest.raises(LocalqError, match="nowhere_to_be_found does not load"):
        install(home, replace(packages, imports=("nowhere_to_be_found",)))
    assert left(home) == []


def test_a_disk_without_room(home: Paths) -> None:
    with pytest.raises(StorageError, match="are left"):
        check_disk(Size(1 << 60, 1), home, NAME)


def test_records_that_say_nothing_sensible(home: Paths) -> None:
    folder = environments_folder(home)
    folder.mkdir(parents=True)
    whole = (
        '{"name": "x", "folder": "x-00000000", "accelerator": "cpu", "lock": "", "python": "3",'
        ' "size_bytes": 1, "installed_at": 1.0, "packages": {}}'
    )
    (folder / "x.json").write_text(whole)
    assert read_record(home, "x") is not None
    assert find("x", home) is None  # its folder is gone
    for wrong in (
        "",
        "[]",
        "{}",
        "[" * 100_000,
        whole.replace("x-00000000", "../../x-00000000"),
        whole.replace('"x"', '"y"'),
        whole.replace("{}", "3"),
        whole.replace('"cpu"', "[]"),
        whole.replace("1,", '"many",'),
    ):
        (folder / "x.json").write_text(wrong)
        assert read_record(home, "x") is None, wrong[:80]
    forget(home, "x")
    assert left(home) == []


def test_nobodys_lock_does_not_keep_what_is_half_made(home: Paths) -> None:
    folder = environments_folder(home) / "x-0123abcd"
    (folder / "bin").mkdir(parents=True)
    lock = installing_lock(home, "x")
    assert lock.acquire()
    assert sweep(home) == []
    lock.release()
    other = environments_folder(home) / "notes"
    other.mkdir()
    assert sweep(home) == [folder]
    assert left(home) == ["notes"]
    shutil.rmtree(other)


def _processes_of(folder: Path) -> list[str]:
    """Processes that were started with a path in the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
