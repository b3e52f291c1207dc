"""Whether the installed engine works on this machine, and the command that mends it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from localq.engine.canary.verdict import EngineVerdict, engine_verdict
from localq.engine.client import Engine
from localq.engine.devices import ask_engine, engine_version
from localq.engine.mode import chosen_mode
from localq.errors import EngineError
from localq.events import Emit, Note
from localq.hardware.advice import engine_fault
from localq.hardware.compiler import compiler_flags
from localq.hardware.installation import Installer
from localq.hardware.machine import LocalMachine, Machine
from localq.hardware.profile import Finding
from localq.messages import msg
from localq.paths import Paths

__all__ = [
    "EngineCheck",
    "check_engine",
    "engine_finding",
    "installer_for",
    "open_engine",
    "warn_about_engine",
]


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """The installed engine, and what came of trying it."""

    version: str | None
    """Of llama-cpp-python; None: it is not installed."""
    verdict: EngineVerdict | None
    """None: there was nothing to try."""
    mode: str | None
    """How every load loads it; None: it does not work."""
    chosen: bool
    """Whether the environment says so, whatever was found."""
    finding: Finding | None
    """What is wrong, and what mends it."""


def check_engine(paths: Paths, *, again: bool = False) -> EngineCheck:
    """What is known of the engine; it is tried where that is nothing, or `again` is set."""
    verdict = engine_verdict(paths.cache, again=again)
    chosen = chosen_mode()
    mode = chosen or (verdict.mode if verdict else None)
    return EngineCheck(
        version=engine_version(),
        verdict=verdict,
        mode=str(mode) if mode else None,
        chosen=chosen is not None,
        finding=_finding(verdict) if verdict else _no_engine(),
    )


def engine_finding(paths: Paths, installer: Installer, backends: Collection[str]) -> Finding | None:
    """What is wrong with an engine that does not work as it was built, for `backends`; None also
    where the user chose how it is loaded."""
    verdict = None if chosen_mode() else engine_verdict(paths.cache)
    if verdict is None or verdict.problem is None:
        return None
    return engine_fault(verdict.problem, installer, backends)


def open_engine(paths: Paths, emit: Emit) -> Engine:
    """An engine to load models with, after `warn_about_engine`."""
    warn_about_engine(paths, emit)
    return Engine(log=paths.log / "engine.log")


def warn_about_engine(paths: Paths, emit: Emit) -> None:
    """Emit a warning where the engine does not run as it was built; it is tried where nothing is
    known of it."""
    verdict = None if chosen_mode() else engine_verdict(paths.cache)
    if verdict and verdict.mode and verdict.problem:
        emit(
            Note(
                msg("{problem}; localq engine check says what mends it", problem=verdict.problem),
                warning=True,
            )
        )


def installer_for(machine: Machine) -> Installer:
    """How packages come into the environment this runs in."""
    return Installer(
        python=sys.executable,
        has_pip=importlib.util.find_spec("pip") is not None,
        os=machine.os,
        architecture=machine.architecture,
        engine_version=engine_version(),
        compiler_flags=cache(compiler_flags),
    )


def _finding(verdict: EngineVerdict) -> Finding | None:
    if verdict.problem is None:
        return None
    backends: tuple[str, ...] = ()
    with suppress(EngineError):  # where it cannot be asked, the plain command is as good as any
        backends = ask_engine().backends
    return engine_fault(verdict.problem, installer_for(LocalMachine()), backends)


def _no_engine() -> Finding | None:
    if engine_version() is not None:
        return None
    problem = msg("llama-cpp-python, the engine, is not installed")
    return engine_fault(problem, installer_for(LocalMachine()), ())
