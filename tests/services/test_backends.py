"""Backends listed, installed by the command, removed, and looked after."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.errors import Cancelled
from localq.events import ignore
from localq.gpu_quant.backend_packages import PACKAGES
from localq.gpu_quant.environments import Record, enter, environment_python, environments_folder
from localq.library import Library
from localq.paths import Paths
from localq.services.backends.install import BackendInstallRequest, install_backend
from localq.services.backends.listing import list_backends, remove_backend
from localq.services.backends.report import backend_report
from localq.services.doctor.doctor import doctor
from localq.services.library.usage import disk_usage

_FOLDER = "gptqmodel-0123abcd"


def put(home: Paths, *, lock: str | None = None, python: bool = True) -> Path:
    """What an installation leaves, with this Python as that of the environment."""
    folder = environments_folder(home) / _FOLDER
    place = environment_python(folder)
    place.parent.mkdir(parents=True)
    place.symlink_to(sys.executable if python else "/nowhere/python")
    (folder / "library.bin").write_bytes(b"x" * 50_000)
    packages: Mapping[str, str] = {"gptqmodel": "7.6.0", "torch": "2.13.0+cpu"}
    lock = PACKAGES["gptqmodel"].lock_hash if lock is None else lock
    enter(home, Record("gptqmodel", _FOLDER, "cpu", lock, "3.11.7", 50_000, 1.0, packages))
    return folder


def test_states(home: Paths) -> None:
    assert {one.state for one in list_backends(home)} == {"not installed"}
    put(home)
    states = {one.name: one for one in list_backends(home)}
    assert states["gptqmodel"].state == "installed"
    assert states["gptqmodel"].size_bytes == 50_000
    assert states["autoawq"].state == "not installed"
    assert disk_usage(Library(home)).backends_bytes >= 50_000


def test_other_pins_and_a_python_that_is_gone(home: Paths, library: Library) -> None:
    folder = put(home, lock="another")
    assert list_backends(home)[0].state == "outdated"
    environment_python(folder).unlink()
    assert list_backends(home)[0].state == "broken"
    assert "its Python is gone" in _found(library)
    report = backend_report(home, ignore, threading.Event())
    assert not report.healthy
    assert "localq backend install gptqmodel --force" in [one.remedy for one in report.checks]


def test_the_doctor_deletes_what_is_half_made(home: Paths, library: Library) -> None:
    whole = put(home)
    half = environments_folder(home) / "autoawq-00000000"
    half.mkdir()
    assert "half-made" in _found(library)
    doctor(library, ignore, threading.Event(), repair=True)
    assert not half.exists()
    assert whole.exists()


def _found(library: Library) -> str:
    return "\n".join(one.problem for one in doctor(library, ignore, threading.Event()).findings)


def test_removing_asks(home: Paths) -> None:
    folder = put(home)
    asked: list[str] = []

    def answer(yes: bool) -> Callable[[str], bool]:
        return lambda question: asked.append(question) or yes  # type: ignore[func-returns-value]

    with pytest.raises(Cancelled):
        remove_backend(home, "gptqmodel", answer(False))
    assert folder.exists()
    assert remove_backend(home, "gptqmodel", answer(True)) == 50_000
    assert not folder.exists()
    assert list(environments_folder(home).iterdir()) == []
    assert len(asked) == 2
    assert "50.0 kB" in asked[0]


def test_what_is_installed_is_left_alone(
    library: Library, home: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(home)
    assert main(["backend", "install", "gptqmodel", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "gptqmodel",
        "version": "7.6.0",
        "accelerator": "cpu",
        "folder": str(folder),
        "python": "3.11.7",
        "size_bytes": 50_000,
        "changed": False,
    }
    # What cannot work here is done by its successor, and said.
    notes: list[object] = []
    request = BackendInstallRequest("auto-gptq", "cpu")
    done = install_backend(library, request, notes.append, threading.Event(), lambda _: False)
    assert done.name == "gptqmodel"
    assert "writes the same format" in str(notes)


def test_nothing_is_installed_without_consent(library: Library, home: Paths) -> None:
    asked: list[str] = []

    def refuse(question: str) -> bool:
        asked.append(question)
        return False

    request = BackendInstallRequest("gptqmodel", "cpu")
    with pytest.raises(Cancelled):
        install_backend(library, request, ignore, threading.Event(), refuse)
    assert "downloads about 350 MB" in asked[0]
    assert not environments_folder(home).exists()


def test_the_command(home: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backend", "list"]) == 0
    assert "llmcompressor" in capsys.readouterr().out
    assert main(["backend", "doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"]
    assert "localq backend install gptqmodel" in [one["remedy"] for one in report["checks"]]
    assert main(["backend", "doctor"]) == 0
    assert "INT4" in capsys.readouterr().out
    assert main(["backend", "remove", "autoawq", "--yes"]) == 1
    assert "not installed" in capsys.readouterr().err
    assert main(["backend", "install", "vllm", "--yes"]) == 1
    assert main(["backend", "install", "gptqmodel", "--yes", "--python", "/nowhere"]) == 2
    assert main(["backend", "install", "gptqmodel"]) == 2
    assert "--yes" in capsys.readouterr().err
