"""Which models are loaded on this machine, by every localq that uses the same home.

The folder `workers` of the cache holds, of each program that loads models, a lock that the system
lets go of when the program ends, and a small record of each of its models:

    3f2a90c1.alive          locked as long as the program lives
    3f2a90c1.0.json         a model; written by its program alone
    3f2a90c1.0.stop         what someone else asks of that program: to let go of the model

A record counts only while its program lives: what a kill or a power cut leaves behind is dead, and
is cleared away, whatever process has got its number since. A worker never outlives its program.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from localq.errors import storage_errors
from localq.hardware.processes import process_start
from localq.json_codec import from_json, to_json
from localq.liveness import LivenessLock, is_held
from localq.messages import msg
from localq.planning.room import Tenant

__all__ = ["STATE_TEXTS", "StopRequest", "WorkerRecord", "WorkerRegistry", "WorkerState"]

WorkerState: TypeAlias = Literal["loading", "busy", "idle", "unloading", "set aside"]

STATE_TEXTS: Mapping[WorkerState, str] = {
    "loading": msg("loading"),
    "busy": msg("busy"),
    "idle": msg("idle"),
    "unloading": msg("unloading"),
    "set aside": msg("set aside"),
}

_RECORD = re.compile(r"(?P<owner>[0-9a-f]{8})\.\d{1,9}\.json")
_MAX_BYTES = 1 << 16
_MAX_RECORDS = 1 << 12
_LOCK_SECONDS = 10.0
_REPLACE_LOOKS, _REPLACE_SECONDS = 5, 0.01
_HINT = msg("let LOCALQ_HOME name another folder")


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A loaded model. Sizes are bytes, times seconds since 1970."""

    id: str
    model: str
    path: str
    owner: str
    """Which program: "run", "chat", "app", "serve", ..."""
    owner_pid: int
    state: WorkerState
    """Set aside: it crashed too often, and is loaded no more until it is stopped."""
    since: float
    """When this state began."""
    pid: int | None = None
    """The engine's process; None while there is none."""
    started: str | None = None
    """When that process did, as `localq.hardware.processes.process_start` says it."""
    pinned: bool = False
    n_ctx: int = 0
    devices: tuple[str, ...] = ()
    memory: tuple[int, ...] = ()
    """What is planned for it, of each of the devices."""
    mapped: int = 0
    """Of the host's: weights that are a mapped file, which the system counts as free."""
    unload_at: float | None = None
    """When it will be unloaded unless it is used before; None: it will not."""

    @property
    def total(self) -> int:
        """Of all devices."""
        return sum(self.memory)

    @property
    def footprint(self) -> dict[str, int]:
        return dict(zip(self.devices, self.memory, strict=False))

    def tenant(self) -> Tenant:
        """As someone else sees it who wants its memory."""
        idle = self.state == "idle"
        return Tenant(
            self.id, self.footprint, self.since if idle else None, pinned=self.pinned, ours=False
        )


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Someone wants a model's memory back."""

    by: str
    """Who, for people."""
    force: bool = False
    """Even while it is being used."""


class WorkerRegistry:
    """The records in `folder`, and those that this program writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = os.urandom(4).hex()
        self._alive = LivenessLock(folder / f"{self._owner}.alive")
        self._held = False
        self._count = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else looks and then loads during the block. StorageError where that cannot be
        had; a program that is stuck keeps nobody waiting for more than some seconds."""
        from filelock import FileLock, Timeout

        with storage_errors(self._folder, hint=_HINT):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / "registry.lock", timeout=_LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout:
                lock = None  # type: ignore[assignment]
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def new_id(self) -> str:
        self._count += 1
        return f"{self._owner}.{self._count}"

    def write(self, record: WorkerRecord) -> None:
        """Keep a record of this program's in place of the one of the same id. StorageError."""
        with storage_errors(self._folder, hint=_HINT):
            if not self._held:
                self._held = self._alive.acquire()
            _write(self._file(record.id, "json"), to_json(record))

    def remove(self, id_: str) -> None:
        """Forget a record, and what was asked of it."""
        for kind in ("json", "stop"):
            with suppress(OSError):
                self._file(id_, kind).unlink(missing_ok=True)

    def close(self) -> None:
        """Forget all of this program's."""
        if self._held:
            for path in self._folder.glob(f"{self._owner}.*.*"):
                with suppress(OSError):
                    path.unlink()
            self._alive.release()
            self._held = False

    def records(self, *, others: bool = False) -> tuple[WorkerRecord, ...]:
        """Those of all programs that live, `others`: but this one. What the dead left is cleared
        away; what is no record is left alone."""
        found = []
        living: dict[str, bool] = {self._owner: self._held}
        for name in self._names():
            if (match := _RECORD.fullmatch(name)) is None:
                continue
            owner = match["owner"]
            if others and owner == self._owner:
                continue
            if owner not in living:
                living[owner] = is_held(self._folder / f"{owner}.alive")
            if not living[owner]:
                self.remove(name.removesuffix(".json"))
            elif (record := self._read(name)) and _is_running(record):
                found.append(record)
        return tuple(sorted(found, key=lambda record: (record.model.casefold(), record.id)))

    def ask_to_stop(self, record: WorkerRecord, request: StopRequest) -> None:
        """Leave word for the program that has the model. StorageError."""
        final = self._file(record.id, "stop")
        with storage_errors(final, hint=_HINT):
            _write(final, to_json(request))

    def is_asked_to_stop(self, record: WorkerRecord) -> bool:
        """Whether its program has not answered yet."""
        return self._file(record.id, "stop").exists()

    def stop_request(self, id_: str) -> StopRequest | None:
        """What someone asks of a model of this program, until it is `answered`."""
        try:
            text = self._file(id_, "stop").read_bytes()[:_MAX_BYTES]
        except OSError:
            return None
        try:
            request: StopRequest = from_json(StopRequest, json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return StopRequest("?")
        return replace(request, by=request.by[:200])

    def answered(self, id_: str) -> None:
        """What the model does then can be seen in its record."""
        with suppress(OSError):
            self._file(id_, "stop").unlink(missing_ok=True)

    def record(self, id_: str) -> WorkerRecord | None:
        """One record, if it counts."""
        return next((record for record in self.records() if record.id == id_), None)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for _, entry in zip(range(_MAX_RECORDS), entries))  # noqa: B905
        except OSError:
            return []

    def _read(self, name: str) -> WorkerRecord | None:
        """A record; None where another program, or another version of localq, wrote it."""
        try:
            text = (self._folder / name).read_bytes()
            if len(text) > _MAX_BYTES:
                return None
            record: WorkerRecord = from_json(WorkerRecord, json.loads(text))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        sane = record.id == name.removesuffix(".json") and all(
            0 <= size < 1 << 50 for size in (*record.memory, record.mapped)
        )
        return record if sane and len(record.devices) == len(record.memory) else None

    def _file(self, id_: str, kind: str) -> Path:
        return self._folder / f"{id_}.{kind}"


def _write(final: Path, value: object) -> None:
    """Whoever reads it sees the old or the new one as a whole. A power cut may take it: all that it
    tells of is gone then, too."""
    fresh = final.with_name(f"{final.name}.{os.urandom(4).hex()}")
    try:
        fresh.write_text(json.dumps(value), encoding="utf-8")
        for _ in range(_REPLACE_LOOKS):
            with suppress(PermissionError):  # on Windows, while somebody reads the old one
                fresh.replace(final)
                return
            time.sleep(_REPLACE_SECONDS)
        fresh.replace(final)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _is_running(record: WorkerRecord) -> bool:
    """False where its process has ended and its program has not noticed, or cannot: it may be
    stopped itself."""
    if record.pid is None or record.started is None:
        return True
    return process_start(record.pid) == record.started
