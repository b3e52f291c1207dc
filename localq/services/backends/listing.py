"""Which backends there are, which are installed; and removing one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localq.display import byte_size
from localq.errors import Cancelled, LibraryError, NotFoundError
from localq.gpu_quant.backend_packages import PACKAGES, packages_named
from localq.gpu_quant.environments import (
    environments_folder,
    find,
    forget,
    installing_lock,
    is_being_installed,
    read_record,
    sweep,
)
from localq.messages import msg
from localq.paths import Paths
from localq.services.consent import Consent

__all__ = ["BackendState", "BackendStatus", "list_backends", "remove_backend"]

BackendState = Literal["installed", "outdated", "broken", "installing", "not installed"]


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """`version` is the installed one, or else the one that would be. "outdated": installed with
    other pins than this localq has; "broken": its Python is gone."""

    name: str
    about: str
    state: BackendState
    version: str
    accelerator: str | None = None
    folder: Path | None = None
    python: str | None = None
    size_bytes: int = 0
    packages: Mapping[str, str] | None = None


def list_backends(paths: Paths) -> tuple[BackendStatus, ...]:
    """All that this localq knows. What a killed installation left is deleted."""
    sweep(paths)
    return tuple(_status(paths, name) for name in PACKAGES)


def _status(paths: Paths, name: str) -> BackendStatus:
    packages = PACKAGES[name]
    record = read_record(paths, name)
    busy = is_being_installed(paths, name)
    if record is None:
        state: BackendState = "installing" if busy else "not installed"
        return BackendStatus(name, packages.about, state, packages.version)
    if busy:
        state = "installing"
    elif find(name, paths) is None:
        state = "broken"
    else:
        state = "installed" if record.lock == packages.lock_hash else "outdated"
    return BackendStatus(
        name,
        packages.about,
        state,
        record.packages.get(name, packages.version),
        record.accelerator,
        environments_folder(paths) / record.folder,
        record.python,
        record.size_bytes,
        record.packages,
    )


def remove_backend(paths: Paths, name: str, consent: Consent) -> int:
    """Delete the backend's environment, once the user has agreed; the bytes freed.

    NotFoundError where it is not installed, LibraryError while it is being installed, Cancelled.
    """
    packages_named(name)
    record = read_record(paths, name)
    if record is None:
        sweep(paths)
        raise NotFoundError(
            msg("the backend {name} is not installed", name=name), hint="localq backend list"
        )
    if not consent(
        msg("remove the backend {name} ({size})?", name=name, size=byte_size(record.size_bytes))
    ):
        raise Cancelled(msg("stopped; nothing was removed"))
    lock = installing_lock(paths, name)
    if not lock.acquire():
        raise LibraryError(
            msg("{name} is being installed or removed already", name=name),
            hint=msg("localq jobs shows by whom"),
        )
    try:
        forget(paths, name)
        sweep(paths, holding=name)
    finally:
        lock.release()
    return record.size_bytes
