"""Makes the environment of a backend: all of it, or nothing."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localq.display import byte_size
from localq.errors import LibraryError, LocalqError, StorageError, storage_errors
from localq.events import Emit, Progress, Started, Unit
from localq.gpu_quant.backend_packages import Accelerator, BackendPackages, Size
from localq.gpu_quant.environments import (
    Record,
    enter,
    environment_python,
    installing_lock,
    new_folder,
    sweep,
)
from localq.gpu_quant.examination import examine
from localq.gpu_quant.install_failures import failure
from localq.gpu_quant.installer import Installer, choose_installer, find_uv, own_pip
from localq.gpu_quant.lock_file import Pinned, written
from localq.gpu_quant.watched_command import clean_environment, run_watched
from localq.messages import msg
from localq.paths import Paths

__all__ = ["check_disk", "folder_bytes", "install_environment"]

_BUILD_TOOLS = frozenset({"setuptools", "wheel", "packaging"})
_KEPT_LINES = 2000
_SCRATCH = "being-installed"


def check_disk(size: Size, paths: Paths, name: str) -> None:
    """StorageError where what is downloaded and installed will not fit."""
    there = next(place for place in (paths.data, *paths.data.parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if (needed := size.download + size.installed) > free:
        raise StorageError(
            msg(
                "{name} takes about {needed} while it is installed, {free} are left",
                name=name,
                needed=byte_size(needed),
                free=byte_size(free),
            ),
            hint=msg("free some space (localq trash empty), or move LOCALQ_HOME to a larger disk"),
        )


def install_environment(
    paths: Paths,
    packages: BackendPackages,
    accelerator: Accelerator,
    python: Path,
    log: Path,
    emit: Emit,
    cancel: threading.Event,
) -> Record:
    """Make an environment with `python` and the pinned packages, and enter it in place of an older
    one. What the programs print goes to `log`.

    Emits Progress in packages. Whatever it raises, nothing half-made stays: LibraryError where
    another process is at it, OfflineError, StorageError, HashMismatch, LocalqError, Cancelled.
    """
    lock = installing_lock(paths, packages.name)
    if not lock.acquire():
        raise LibraryError(
            msg("{name} is being installed or removed already", name=packages.name),
            hint=msg("localq jobs shows by whom"),
        )
    try:
        sweep(paths, holding=packages.name)
        emit(Started(msg("installing {name}", name=packages.name)))
        folder = new_folder(paths, packages.name)
        try:
            record = _Build(packages, accelerator, python, folder, log, emit, cancel).made()
            enter(paths, record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sweep(paths, holding=packages.name)  # the one before
        return record
    finally:
        lock.release()


class _Build:
    """One environment in the making."""

    def __init__(
        self,
        packages: BackendPackages,
        accelerator: Accelerator,
        python: Path,
        folder: Path,
        log: Path,
        emit: Emit,
        cancel: threading.Event,
    ) -> None:
        self._packages = packages
        self._accelerator = accelerator
        self._base_python = python
        self._folder = folder
        self._python = environment_python(folder)
        self._scratch = folder / _SCRATCH
        self._log = log
        self._emit = emit
        self._cancel = cancel
        self._heard: deque[str] = deque(maxlen=_KEPT_LINES)
        self._wanted = [
            one for one in packages.pinned if accelerator == "cuda" or not one.only_for_cuda
        ]
        self._done = 0

    def made(self) -> Record:
        with storage_errors(self._folder, hint=msg("let LOCALQ_HOME name another folder")):
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.unlink(missing_ok=True)
        installer = self._virtual_environment()
        with storage_errors(self._scratch, hint=msg("let LOCALQ_HOME name another folder")):
            self._scratch.mkdir()
        self._note(f"installing with {installer.name}")
        self._install_all(installer)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._progress(msg("trying it"), "")
        found = examine(self._python, self._packages.imports, self._cancel, self._note)
        for module, why in found.failures.items():
            raise LocalqError(
                msg(
                    "{name} is installed, but {module} does not load: {why}",
                    name=self._packages.name,
                    module=module,
                    why=why,
                ),
                hint=msg("its log is {log}", log=self._log),
            )
        return Record(
            name=self._packages.name,
            folder=self._folder.name,
            accelerator=self._accelerator,
            lock=self._packages.lock_hash,
            python=found.python,
            size_bytes=folder_bytes(self._folder),
            installed_at=time.time(),
            packages=found.packages,
        )

    def _virtual_environment(self) -> Installer:
        self._progress(msg("making the environment"), "")
        self._heard.clear()
        pip = own_pip(self._python)
        command: list[str | Path] = [self._base_python, "-I", "-m", "venv", self._folder]
        if pip or find_uv():
            command.append("--without-pip")  # which takes seconds, and is not needed
        else:
            pip = [self._python, "-I", "-m", "pip", "--disable-pip-version-check"]
        if self._run(command, {}) != 0:
            raise failure(list(self._heard), self._packages.name, self._log)
        # Only now: pip answers for an environment that is there.
        return choose_installer(self._python, clean_environment({}), pip=pip)

    def _install_all(self, installer: Installer) -> None:
        """Tools for building first, then what comes ready, torch, and what is built from source.

        Everything is pinned by hash but one: torch for processors, of which there are as many
        builds as indexes; that is pinned by version.
        """
        built = self._packages.built_here
        torch = [one for one in self._wanted if one.name == self._packages.torch]
        rest = [one for one in self._wanted if one not in torch and one.name not in built]
        tools = [one for one in rest if one.name in _BUILD_TOOLS]
        ready = [one for one in rest if one.name not in _BUILD_TOOLS]
        ready_only = ("--only-binary", ":all:")
        self._install(installer, tools, *ready_only)
        by_hash = self._accelerator == "cuda" or sys.platform != "linux"
        self._install(installer, ready + (torch if by_hash else []), *ready_only)
        if torch and not by_hash:
            self._install_torch(installer, torch[0])
        sources = [one for one in self._wanted if one.name in built]
        self._install(installer, sources, "--no-build-isolation")

    def _install(self, installer: Installer, pinned: Sequence[Pinned], *options: str) -> None:
        if not pinned:
            return
        requirements = self._written("requirements.txt", written(pinned))
        command = installer.install("--no-deps", "--require-hashes", *options, "-r", requirements)
        self._run_or_raise(command, len(pinned))

    def _install_torch(self, installer: Installer, torch: Pinned) -> None:
        others = [one.bare for one in self._wanted if one is not torch]
        constraints = self._written("constraints.txt", "\n".join(others))
        command = installer.install(
            f"{torch.name}=={torch.version}", "-c", constraints, *installer.torch_for_cpu
        )
        self._run_or_raise(command, 1)

    def _run_or_raise(self, command: Sequence[str | Path], count: int) -> None:
        before = self._done
        self._heard.clear()
        scratch = str(self._scratch)  # what is half-made there goes with the environment
        variables = {"TMPDIR": scratch, "TEMP": scratch, "TMP": scratch}
        code = self._run(command, variables | dict(self._packages.build_variables))
        if code != 0:
            raise failure(list(self._heard), self._packages.name, self._log)
        self._done = before + count
        self._progress(msg("installing"), "")

    def _run(self, command: Sequence[str | Path], variables: dict[str, str]) -> int:
        self._note("$ " + " ".join(map(str, command)))
        with self._logged() as on_line:
            return run_watched(command, clean_environment(variables), self._cancel, on_line)

    @contextmanager
    def _logged(self) -> Iterator[Callable[[str], None]]:
        with self._log.open("a", encoding="utf-8", errors="replace") as log:

            def on_line(line: str) -> None:
                self._heard.append(line)
                said = line.strip()
                log.write(line + "\n")
                log.flush()
                if said.startswith(("Collecting ", "Processing ")):
                    self._done = min(self._done + 1, len(self._wanted))
                    self._progress(msg("downloading"), Path(said.split()[1]).name)
                elif said.startswith(("Downloading ", "Building ")):
                    self._progress(msg("downloading"), said)
                elif said.startswith(("Installing collected", "Prepared ")):
                    self._progress(msg("installing"), "")

            with storage_errors(self._log):
                yield on_line

    def _note(self, line: str) -> None:
        with storage_errors(self._log), self._log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def _progress(self, stage: str, detail: str) -> None:
        total = len(self._wanted)
        self._emit(Progress(stage, min(self._done, total), total, Unit.PACKAGES, detail))

    def _written(self, name: str, text: str) -> Path:
        place = self._scratch / name
        with storage_errors(place, hint=msg("let LOCALQ_HOME name another folder")):
            place.write_text(text, encoding="utf-8")
        return place


def folder_bytes(folder: Path) -> int:
    """What the files below take together; those with several names once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        key = (status.st_dev, status.st_ino)
        if not path.is_dir() and key not in seen:
            seen.add(key)
            total += status.st_size
    return total
