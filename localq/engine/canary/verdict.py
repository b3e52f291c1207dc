"""What is known about the installed engine: asked once, kept, and used by every load."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localq.engine.canary.check import TRY_SECONDS, Outcome, Probe, Try, try_modes
from localq.engine.canary.identity import EngineFiles, digest, engine_files, processor
from localq.engine.mode import MODE_VARIABLE, EngineMode, chosen_mode
from localq.errors import EngineError, LocalqError
from localq.json_codec import from_json, to_json
from localq.paths import Paths

__all__ = ["EngineVerdict", "engine_environment", "engine_verdict", "proven_mode"]

_FILE = "engine.json"
_MAX_BYTES = 1 << 20
_MAX_KEPT = 32
_PASSING_SECONDS = 3600.0
_HINT = "localq engine check"


@dataclass(frozen=True, slots=True)
class EngineVerdict:
    """The result of trying the engine that is installed, on this processor."""

    libraries: str
    """The folder they are in."""
    tries: tuple[Try, ...]
    checked_at: float
    """Seconds since 1970."""

    @property
    def mode(self) -> EngineMode | None:
        """How the engine is to be loaded; None: it does not work at all."""
        last = self.tries[-1]
        return EngineMode.parse(last.mode) if last.outcome == "works" else None

    @property
    def problem(self) -> str | None:
        """One line that says what is wrong, without the remedy; None: nothing is."""
        first = self.tries[0]
        if first.outcome == "works":
            return None
        what = _WORDS[first.outcome].format(first.detail)
        mode = self.mode
        if mode is None:
            others = len(self.tries) - 1
            ways = f", nor in {others} safer way{'s' if others > 1 else ''}" if others else ""
            return f"the installed engine does not work on this machine{ways}: it {what}"
        return (
            f"the installed engine does not work on this machine as it was built: it {what};"
            f" it is run {_instead(mode)}"
        )

    @property
    def holds(self) -> bool:
        """Whether to believe it still. What hangs or is killed may be the machine's doing, and a
        library that cannot be loaded may be there the next time."""
        outcomes = {one.outcome for one in self.tries}
        if "refused" in outcomes:
            return self.mode is not None
        passing = bool(outcomes & {"hung", "killed"})
        return not passing or 0 <= time.time() - self.checked_at < _PASSING_SECONDS


_WORDS: dict[Outcome, str] = {
    "crashed": "crashed ({})",
    "killed": "was ended ({})",
    "hung": "hung ({})",
    "wrong": "computes nonsense ({})",
    "refused": "refused ({})",
    "works": "works",
}


def _instead(mode: EngineMode) -> str:
    variant = f"with the CPU variant {mode.variant} instead" if mode.variant else ""
    slower = "" if mode.repack else "without repacked weights instead, which is slower"
    return " and ".join(filter(None, (variant, slower)))


def proven_mode(cache: Path) -> EngineMode:
    """How the engine is to be loaded: what the environment names, else what was found to work.

    EngineError: nothing works. Where nothing can be tried (no engine, no process) the default: who
    loads it then says why that fails.
    """
    if mode := chosen_mode():
        return mode
    verdict = engine_verdict(cache)
    if verdict is None:
        return EngineMode()
    mode = verdict.mode
    if mode is None:
        raise EngineError(str(verdict.problem), hint=_HINT)
    return mode


def engine_environment(cache: Path | None = None) -> dict[str, str]:
    """The environment for a process that loads the engine. EngineError: nothing works."""
    cache = cache or Paths.from_environment().cache
    return {**os.environ, MODE_VARIABLE: str(proven_mode(cache))}


def engine_verdict(
    cache: Path,
    *,
    again: bool = False,
    probe: Probe | None = None,
    try_seconds: float = TRY_SECONDS,
) -> EngineVerdict | None:
    """What is known of the installed engine on this processor; tried first where that is nothing,
    or `again` is set. None: there is no engine, or no process can be started.

    Takes a millisecond when it is known, about half a second otherwise. What cannot be kept in
    the folder `cache` is tried anew by the next process.
    """
    engine = engine_files()
    if engine is None:
        return None
    file = cache / _FILE
    kept = _read(file)
    try:
        libraries = _digest(kept, engine)
    except OSError:
        return None
    key = f"{libraries}:{processor()}"
    if not again and (known := _unkept.get((file, key)) or _known(kept, key, engine)):
        return known
    try:
        tries = try_modes(probe, try_seconds)
    except OSError:
        return None
    verdict = EngineVerdict(str(engine.folder), tries, round(time.time(), 3))
    kept["libraries"][str(engine.folder)] = {"stamp": engine.stamp, "digest": libraries}
    kept["verdicts"][key] = to_json(verdict)
    if not _write(file, kept):
        _unkept[file, key] = verdict
    return verdict


_unkept: dict[tuple[Path, str], EngineVerdict] = {}
"""What could not be written down, so that this process at least does not try it anew."""


def _known(kept: dict[str, Any], key: str, engine: EngineFiles) -> EngineVerdict | None:
    try:
        verdict: EngineVerdict = from_json(EngineVerdict, kept["verdicts"][key])
        if not verdict.tries or not verdict.holds:
            return None
        _ = verdict.mode  # a word that is no mode is an error
    except (KeyError, TypeError, LocalqError):
        return None
    return replace(verdict, libraries=str(engine.folder))


def _digest(kept: dict[str, Any], engine: EngineFiles) -> str:
    known = kept["libraries"].get(str(engine.folder))
    if isinstance(known, dict) and known.get("stamp") == engine.stamp:
        found = known.get("digest")
        if isinstance(found, str):
            return found
    return digest(engine)


def _read(file: Path) -> dict[str, Any]:
    """What was kept; nothing where it cannot be read or is damaged: it can be made again."""
    kept: Any = None
    with suppress(OSError, ValueError, RecursionError), file.open("rb") as opened:
        kept = json.loads(opened.read(_MAX_BYTES))
    if not isinstance(kept, dict):
        kept = {}
    return {
        name: value if isinstance(value := kept.get(name), dict) else {}
        for name in ("libraries", "verdicts")
    }


def _write(file: Path, kept: dict[str, Any]) -> bool:
    bounded = {name: dict(list(value.items())[-_MAX_KEPT:]) for name, value in kept.items()}
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(bounded, indent=1), encoding="utf-8")
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        return False
    return True
