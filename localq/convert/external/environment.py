"""The converter's own environment: set up once with the user's consent, used ever after.

<data>/llama.cpp-converter/
    lock
    0.3.36/              one folder per release of llama-cpp-python
        llama.cpp/       the converter, its packages and licences
        venv/            Python with torch, transformers and what else it needs
        ready.json       written last: without it the folder is a leftover
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localq.convert.external.archive import REQUIREMENTS, SCRIPT, unpack_converter
from localq.convert.external.child import python_environment, run_child
from localq.convert.external.lock import locked
from localq.convert.external.pip import Package, Pip, make_environment
from localq.convert.external.requirements import (
    Release,
    Requirements,
    installed_release,
    read_requirements,
    with_torch,
)
from localq.display import byte_size
from localq.errors import Cancelled, LocalqError, StorageError, storage_errors
from localq.events import Emit, Note, Started
from localq.messages import msg

__all__ = ["Consent", "Converter", "converter_release", "prepare_converter"]

Consent = Callable[[str], bool]
"""Shown a question that ends with "?"; whether the user agrees."""

_STAMP = "ready.json"
_ABOUT_BYTES = 300_000_000
"""What torch, transformers and the rest took to download where that cannot be asked: 245 MB
on x86-64 Linux, torch for the CPU."""
_UNPACKED = 5.0
"""Bytes on disk per byte downloaded, measured on the same system, and some to spare."""
_ABOUT_BYTES_CUDA = 3_200_000_000
"""The same where torch comes with the libraries for NVIDIA's cards, as Linux gets it from PyPI."""
_UNPACKED_CUDA = 2.0


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter ready to run, and the release it is of."""

    release: str
    python: Path
    script: Path


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be fetched; `packages` None where pip cannot say."""

    requirements: Requirements
    packages: list[Package] | None

    @property
    def size_bytes(self) -> int:
        if self.packages is None:
            about = _ABOUT_BYTES_CUDA if self.may_bring_cuda else _ABOUT_BYTES
            return about if self.requirements.packages else 0
        return sum(package.size_bytes or 0 for package in self.packages)

    @property
    def may_bring_cuda(self) -> bool:
        """Whether torch may come with gigabytes for graphics cards: from an index that has no
        torch for the processor alone, where that is not how the system's torch always is."""
        if self.packages is None:
            return sys.platform == "linux" and not self.requirements.indexes
        return any(package.name.startswith(("nvidia-", "cuda-")) for package in self.packages)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The packages whose size nobody says."""
        return tuple(p.name for p in self.packages or () if p.size_bytes is None)

    @property
    def room_bytes(self) -> int:
        """What it takes on disk."""
        return int(self.size_bytes * (_UNPACKED_CUDA if self.may_bring_cuda else _UNPACKED))


def prepare_converter(
    root: Path, log: Path, emit: Emit, cancel: threading.Event, consent: Consent
) -> Converter:
    """The converter of the installed release below `root`, set up now if it is not there.

    Nothing is downloaded before `consent` was given to what and how much: Cancelled otherwise.
    Whatever else goes wrong, nothing half-made stays. One process at a time; others wait.
    """
    release = installed_release()
    release = replace(release, expected=with_torch(release.expected))
    folder = root / release.version

    def say() -> None:
        emit(Note(msg("another localq is setting up llama.cpp's converter; waiting for it")))

    with locked(root / "lock", cancel, say):
        if not _is_ready(folder, release):
            try:
                with storage_errors(folder):
                    _clear(folder)
                    _set_up(folder, release, log, emit, cancel, consent)
            except BaseException:
                with suppress(OSError):
                    _clear(folder)
                raise
    return _converter(folder, release)


def converter_release() -> str:
    """The release of llama-cpp-python whose converter would be set up."""
    return installed_release().version


def _converter(folder: Path, release: Release) -> Converter:
    python = "venv/Scripts/python.exe" if sys.platform == "win32" else "venv/bin/python"
    return Converter(release.version, folder / python, folder / "llama.cpp" / SCRIPT)


def _is_ready(folder: Path, release: Release) -> bool:
    """Whether the set-up was finished, its Python is still there, and LOCALQ_TORCH agrees."""
    converter = _converter(folder, release)
    if not (converter.python.is_file() and converter.script.is_file()):
        return False
    try:
        stamp = json.loads((folder / _STAMP).read_bytes())
        requirements = Requirements(tuple(stamp["requirements"]))
        return bool(
            stamp["release"] == release.version and with_torch(requirements) == requirements
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _set_up(
    folder: Path,
    release: Release,
    log: Path,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> None:
    emit(Started(msg("looking up what llama.cpp's own converter needs")))
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    pip = make_environment(folder / "venv", scratch, log, cancel)
    plan = _plan(pip, release.expected, emit)
    _ask(folder, release, plan, release.archive_bytes, consent)

    emit(Note(msg("fetching the converter and setting it up; this happens once")))
    archive = pip.download_sdist("llama-cpp-python", release.version, emit)
    source = folder / "llama.cpp"
    unpack_converter(archive, source)
    requirements = with_torch(read_requirements(source / REQUIREMENTS))
    if set(requirements.packages) != set(release.expected.packages):
        plan = _plan(pip, requirements, emit)
        if requirements.packages:
            _ask(folder, release, plan, 0, consent)
    pip.install(plan.requirements, plan.size_bytes if plan.packages else 0, emit)
    shutil.rmtree(scratch)
    _try_it(_converter(folder, release), log, cancel)
    stamp = {"release": release.version, "requirements": requirements.packages}
    (folder / _STAMP).write_text(json.dumps(stamp, indent=2), encoding="utf-8")


def _plan(pip: Pip, requirements: Requirements, emit: Emit) -> _Plan:
    if not requirements.packages:
        return _Plan(requirements, [])
    reached = tuple(index for index in requirements.indexes if pip.reachable(index))
    possible = replace(requirements, indexes=reached)
    packages = pip.plan(possible)
    missed = sorted(set(requirements.indexes) - set(reached))
    if missed and not any(p.name == "torch" and "+cpu" in p.version for p in packages or []):
        emit(
            Note(
                msg(
                    "{missed} cannot be reached: torch comes from your own package index, where"
                    " it may bring gigabytes for graphics cards along",
                    missed=", ".join(missed),
                ),
                warning=True,
            )
        )
    return _Plan(possible, packages)


def _ask(folder: Path, release: Release, plan: _Plan, archive: int, consent: Consent) -> None:
    """Raises Cancelled without consent, StorageError where it would not fit anyway."""
    size = archive + plan.size_bytes
    room = archive + plan.room_bytes
    free = shutil.disk_usage(folder).free
    if room > free:
        raise StorageError(
            msg(
                "{folder}: llama.cpp's converter needs about {room} there, the disk has"
                " {free} left",
                folder=folder,
                room=byte_size(room),
                free=byte_size(free),
            ),
            hint=msg("free some space, or move localq's folders with LOCALQ_HOME"),
        )
    parts = [f"its source archive ({byte_size(archive)})"] if archive else []
    if plan.packages is None:
        names = ", ".join(plan.requirements.packages)
        parts.append(f"{names} with all they need (about {byte_size(plan.size_bytes)})")
    elif plan.packages:
        parts += _named(plan.packages)
    least = "at least " if plan.unknown else ""
    question = msg(
        "llama.cpp's own converter, of llama-cpp-python {version}, needs a download"
        " of {least}{size}: {parts}; it is kept in {folder} and takes"
        " {least2}{room} there. Download it?",
        version=release.version,
        least=least,
        size=byte_size(size),
        parts=", ".join(parts),
        folder=folder,
        least2=least or "about ",
        room=byte_size(room),
    )
    if not consent(question):
        raise Cancelled(msg("stopped; nothing was downloaded") if archive else "stopped")


def _named(packages: list[Package]) -> list[str]:
    """The large ones by name, the others together."""
    known = sorted(packages, key=lambda package: -(package.size_bytes or 0))
    large = [package for package in known if (package.size_bytes or 0) > 8_000_000]
    unknown = [package.name for package in known if package.size_bytes is None]
    small = [p for p in known if p not in large and p.size_bytes is not None]
    parts = [f"{p.name} {p.version} ({byte_size(p.size_bytes or 0)})" for p in large]
    if small:
        total = byte_size(sum(package.size_bytes or 0 for package in small))
        parts.append(f"{len(small)} smaller packages ({total})")
    if unknown:
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        parts.append(f"{', '.join(unknown[:6])}{more}, whose size the package index does not say")
    return parts


def _try_it(converter: Converter, log: Path, cancel: threading.Event) -> None:
    ended = run_child(
        [converter.python, "-s", converter.script, "--help"],
        env=python_environment(),
        cwd=converter.script.parent,
        log=log,
        cancel=cancel,
        on_line=lambda line: False,
    )
    if ended.code:
        raise LocalqError(
            msg("llama.cpp's converter does not start: {describe}", describe=ended.describe()),
            hint=msg(
                "its log is {log}; another torch may help: LOCALQ_TORCH=torch==VERSION", log=log
            ),
        )


def _clear(folder: Path) -> None:
    # The stamp goes first: what follows may be interrupted.
    (folder / _STAMP).unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)
