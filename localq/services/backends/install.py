"""Install a backend into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localq.display import byte_size
from localq.errors import Cancelled, NotFoundError, UsageError
from localq.events import Emit, Note
from localq.gpu_quant.backend_packages import (
    Accelerator,
    BackendPackages,
    Size,
    check_python,
    packages_named,
    resolve_name,
)
from localq.gpu_quant.environments import find, read_record
from localq.library import Library
from localq.messages import msg
from localq.paths import Paths
from localq.services.consent import Consent

__all__ = [
    "BackendInstallRequest",
    "BackendInstallResult",
    "InstallPlan",
    "install_backend",
    "plan_installation",
]

_PYTHON_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class BackendInstallRequest:
    """`accelerator` "auto": CUDA where there is a GPU that can, else the processor. `python`: the
    Python to make the environment with (None: localq's own). `force` installs anew what is
    there."""

    name: str
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    python: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What would be installed; `instead` says why it is not what was asked for, `untried` whether
    its pins were resolved for this platform but never tried on it."""

    packages: BackendPackages
    accelerator: Accelerator
    python: Path
    size: Size
    instead: str | None
    untried: bool
    installed: bool
    """Whether it is there already, with these very pins."""


@dataclass(frozen=True, slots=True)
class BackendInstallResult:
    """`changed`: whether anything had to be done."""

    name: str
    version: str
    accelerator: str
    folder: Path
    python: str
    size_bytes: int
    changed: bool


def plan_installation(paths: Paths, request: BackendInstallRequest) -> InstallPlan:
    """What the request comes to on this machine. NotFoundError, UnsupportedError (this Python),
    UsageError; downloads nothing."""
    from localq.hardware.accelerators import accelerators
    from localq.hardware.machine import LocalMachine

    machine = LocalMachine()
    python = (request.python or Path(sys.executable)).absolute()
    version = sys.version_info[:2] if request.python is None else _version(python)
    accelerator: Accelerator
    if request.accelerator == "auto":
        able = [gpu for gpu in accelerators(machine) if gpu.vendor == "NVIDIA" and gpu.int4 != "no"]
        accelerator = "cuda" if able and machine.os in ("linux", "windows") else "cpu"
    else:
        accelerator = request.accelerator
    packages, instead = resolve_name(request.name, accelerator, version)
    check_python(packages, version)
    record = read_record(paths, packages.name)
    return InstallPlan(
        packages=packages,
        accelerator=accelerator,
        python=python,
        size=packages.sizes[accelerator],
        instead=instead,
        untried=(machine.os, machine.architecture, accelerator) != ("linux", "x86_64", "cpu"),
        installed=record is not None
        and find(packages.name, paths) is not None
        and (record.lock, record.accelerator) == (packages.lock_hash, accelerator),
    )


def install_backend(
    library: Library,
    request: BackendInstallRequest,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> BackendInstallResult:
    """Make the backend's environment, once the user has agreed to its size.

    What it raises, `localq.gpu_quant.installation` says; an environment that was there stays as
    it was until the new one is whole.
    """
    from localq.gpu_quant.installation import check_disk, install_environment

    paths = library.paths
    plan = plan_installation(paths, request)
    name = plan.packages.name
    if plan.instead:
        emit(Note(plan.instead, warning=True))
    if plan.installed and not request.force:
        return _result(paths, name, changed=False)
    if plan.untried:
        emit(
            Note(
                msg("its packages were resolved for this platform, but not tried on it"),
                warning=True,
            )
        )
    check_disk(plan.size, paths, name)
    if not consent(question(plan)):
        raise Cancelled(msg("stopped; nothing was installed"))
    log = paths.log / f"backend-{name}.log"
    install_environment(paths, plan.packages, plan.accelerator, plan.python, log, emit, cancel)
    return _result(paths, name, changed=True)


def question(plan: InstallPlan) -> str:
    """What is to be agreed to: what comes, from where, and how much it is."""
    kind = msg("for CUDA") if plan.accelerator == "cuda" else msg("for the processor")
    return msg(
        "install {name} {version} {kind}: downloads about {download}, takes about {installed}?",
        name=plan.packages.name,
        version=plan.packages.version,
        kind=kind,
        download=byte_size(plan.size.download),
        installed=byte_size(plan.size.installed),
    )


def _result(paths: Paths, name: str, *, changed: bool) -> BackendInstallResult:
    environment, record = find(name, paths), read_record(paths, name)
    if environment is None or record is None:
        raise NotFoundError(
            msg("the backend {name} is not installed", name=name),
            hint=msg("localq backend install {name}", name=name),
        )
    return BackendInstallResult(
        name=name,
        version=record.packages.get(name, packages_named(name).version),
        accelerator=record.accelerator,
        folder=environment.folder,
        python=record.python,
        size_bytes=record.size_bytes,
        changed=changed,
    )


def _version(python: Path) -> tuple[int, int]:
    """What the program `python` says it is. UsageError where it is no Python."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, timeout=_PYTHON_SECONDS, check=True
        )
        major, minor = map(int, said.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError(
            msg("{python}: is no Python that works", python=python),
            hint=msg("name its program: --python /usr/bin/python3.12"),
        ) from error
    return major, minor
