"""The environments that backends run in: where they lie, and which of them are whole.

An environment never moves, because a virtual environment knows its own path. What makes it count
is a small record beside it, written last and swapped in by a rename:

    data/backends/gptqmodel-5f0c2a91/   the virtual environment
    data/backends/gptqmodel.json        the record that names it

A folder that no record names is what a killed installation, or a removal, left behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from localq.errors import storage_errors
from localq.json_codec import to_json
from localq.liveness import LivenessLock, is_held
from localq.messages import msg
from localq.partials import finish, partial_path
from localq.paths import Paths

__all__ = [
    "Environment",
    "Record",
    "enter",
    "environments_folder",
    "environment_python",
    "find",
    "forget",
    "half_made",
    "installing_lock",
    "is_being_installed",
    "new_folder",
    "read_record",
    "sweep",
]

_MAX_RECORD = 1 << 20
_FOLDER = re.compile(r"(?P<name>[a-z][a-z-]{0,40})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Environment:
    """A backend's Python, its folder, and the packages in it with their versions."""

    name: str
    python: Path
    folder: Path
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """What was written down when an environment was whole.

    `folder` is a name beside the record, `accelerator` "cpu" or "cuda", `lock` the SHA-256 of the
    lock file it was made by, `python` a version, `installed_at` seconds since 1970.
    """

    name: str
    folder: str
    accelerator: str
    lock: str
    python: str
    size_bytes: int
    installed_at: float
    packages: Mapping[str, str]


def find(name: str, paths: Paths | None = None) -> Environment | None:
    """The environment of the backend `name`; None where it is not installed, or not whole."""
    paths = paths or Paths.from_environment()
    record = read_record(paths, name)
    if record is None:
        return None
    folder = environments_folder(paths) / record.folder
    python = environment_python(folder)
    if not python.is_file():  # also a link to a Python that the system no longer has
        return None
    return Environment(name, python, folder, record.packages)


def environments_folder(paths: Paths) -> Path:
    return paths.data / "backends"


def environment_python(folder: Path) -> Path:
    """Where a virtual environment has its Python."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_record(paths: Paths, name: str) -> Record | None:
    """What is recorded of a backend; None where nothing is, or nothing sensible."""
    try:
        with _record_path(paths, name).open("rb") as file:
            value = json.loads(file.read(_MAX_RECORD))
        packages = value.pop("packages")
        record = Record(**value, packages={str(key): str(packages[key]) for key in packages})
        numbers = (float(record.size_bytes), float(record.installed_at))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    texts = (record.name, record.folder, record.accelerator, record.lock, record.python)
    if not all(isinstance(text, str) for text in texts) or min(numbers) < 0:
        return None
    match = _FOLDER.fullmatch(record.folder)
    return record if match and match["name"] == name == record.name else None


def new_folder(paths: Paths, name: str) -> Path:
    """A name for a new environment that no other has. Touches no disk."""
    return environments_folder(paths) / f"{name}-{os.urandom(4).hex()}"


def enter(paths: Paths, record: Record) -> None:
    """From now on, `record` is the backend's environment. StorageError."""
    final = _record_path(paths, record.name)
    partial = partial_path(final)
    try:
        with storage_errors(partial, hint=msg("let LOCALQ_HOME name another folder")):
            partial.write_text(json.dumps(to_json(record), indent=2), encoding="utf-8")
        finish(partial, final, replace=True)
    finally:
        partial.unlink(missing_ok=True)


def forget(paths: Paths, name: str) -> None:
    """The backend is not installed any more; `sweep` then deletes its folder. StorageError."""
    place = _record_path(paths, name)
    with storage_errors(place, hint=msg("let LOCALQ_HOME name another folder")):
        place.unlink(missing_ok=True)


def installing_lock(paths: Paths, name: str) -> LivenessLock:
    """Held while a backend is installed or removed."""
    return LivenessLock(_lock_path(paths, name))


def is_being_installed(paths: Paths, name: str) -> bool:
    return is_held(_lock_path(paths, name))


def half_made(paths: Paths) -> Iterator[Path]:
    """Folders that no record names and nobody is working on."""
    for name, folder in _unrecorded(paths):
        if not is_being_installed(paths, name):
            yield folder


def sweep(paths: Paths, *, holding: str | None = None) -> list[Path]:
    """Delete what is half-made, also of the backend whose lock the caller holds; what went."""
    gone = []
    for name, folder in _unrecorded(paths):
        if name == holding or not is_being_installed(paths, name):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


def _unrecorded(paths: Paths) -> Iterator[tuple[str, Path]]:
    try:
        folders = sorted(environments_folder(paths).iterdir())
    except OSError:
        return
    for folder in folders:
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir() and not folder.is_symlink():
            record = read_record(paths, match["name"])
            if record is None or record.folder != folder.name:
                yield match["name"], folder


def _record_path(paths: Paths, name: str) -> Path:
    return environments_folder(paths) / f"{name}.json"


def _lock_path(paths: Paths, name: str) -> Path:
    return environments_folder(paths) / f"{name}.lock"
