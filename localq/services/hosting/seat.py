"""A model's place in the pool, and what is known of it there."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from localq.engine.client import Engine, LoadedModel
from localq.engine.settings import Purpose
from localq.library import Model
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.budget import mapped_by
from localq.services.hosting.prepared import PreparedModel
from localq.services.hosting.registry import WorkerRecord, WorkerState

__all__ = ["Life", "PooledModel", "Seat", "SeatKey", "SeatState"]

SeatState: TypeAlias = WorkerState | Literal["unloaded"]


@dataclass(frozen=True, slots=True)
class SeatKey:
    """What is loaded: which file, as it was when it was planned, and what was asked for."""

    path: str
    version: tuple[int, int]
    """Its size and its time of change: another file of the same name is another model."""
    plan_options: PlanOptions
    purpose: Purpose = "text"

    @classmethod
    def of(cls, model: Model, plan_options: PlanOptions, purpose: Purpose) -> SeatKey:
        try:
            stat = model.path.stat()
            version = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            version = (0, 0)  # loading it will say why
        return cls(str(model.path), version, plan_options, purpose)


@dataclass(eq=False, slots=True)
class Life:
    """One process that has the model, from its load to its end."""

    engine: Engine
    loaded: LoadedModel
    started: str | None
    """When its process did."""
    in_flight: int = 0
    """Requests that were given to it and not answered."""
    company: int | None = None
    """How many requests besides one's own were in flight when it crashed; None: it did not."""
    ended_by: str | None = None
    """Who ended it on purpose."""


@dataclass(eq=False, slots=True)
class Seat:
    """Fields change under the pool's lock, but for `lock`, which is held while the model is loaded
    or unloaded, and `one_by_one` by a request that may be what brought the engine down."""

    key: SeatKey
    prepared: PreparedModel
    keep_seconds: float | None
    """How long it stays loaded unused; None: until its memory is wanted."""
    id: str | None = None
    """Of its record, while it has one."""
    state: SeatState = "unloaded"
    since: float = 0.0
    """When that state began."""
    life: Life | None = None
    loaded: LoadedModel | None = None
    """What became of the last load."""
    starting: Engine | None = None
    """The engine that is loading it."""
    users: int = 0
    """For how many it must stay loaded: requests, and blocks around some."""
    queued: int = 0
    """Requests that wait for it to be loaded."""
    wanted: int = 0
    """How many wait for its memory: who comes after them lets them go first."""
    holders: int = 0
    """Those who have it and may use it again."""
    pinned: bool = False
    crashes: list[float] = field(default_factory=list)
    """When it crashed."""
    planned: bool = True
    """Whether `prepared` was made for the next load."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    one_by_one: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.prepared.model.name

    @property
    def holds_memory(self) -> bool:
        return self.state in ("loading", "busy", "idle", "unloading")

    @property
    def unload_at(self) -> float | None:
        """When it has been unused for long enough."""
        if self.state != "idle" or self.pinned or self.keep_seconds is None:
            return None
        return self.since + self.keep_seconds

    def record(self, owner: str) -> WorkerRecord:
        """As other programs see it; it has an id and a state then."""
        assert self.id is not None
        assert self.state != "unloaded"
        life, prepared = self.life, self.prepared
        held = prepared.footprint if self.holds_memory else {}
        return WorkerRecord(
            id=self.id,
            model=self.name,
            path=str(prepared.model.path),
            owner=owner,
            owner_pid=os.getpid(),
            state=self.state,
            since=self.since,
            pid=life.engine.pid if life else None,
            started=life.started if life else None,
            pinned=self.pinned,
            n_ctx=life.loaded.n_ctx if life else prepared.settings.n_ctx or 0,
            devices=tuple(held),
            memory=tuple(held.values()),
            mapped=mapped_by(prepared.plan) if held and prepared.plan else 0,
            unload_at=self.unload_at,
        )

    def status(self) -> PooledModel:
        slots = self.prepared.settings.n_seq_max
        in_flight = self.life.in_flight if self.life else 0
        return PooledModel(
            name=self.name,
            path=str(self.prepared.model.path),
            state=self.state,
            since=self.since,
            running=min(in_flight, slots),
            waiting=self.queued + max(0, in_flight - slots),
            slots=slots,
            pinned=self.pinned,
            memory_bytes=sum(self.prepared.footprint.values()) if self.holds_memory else 0,
            loaded=self.loaded,
            crashes=len(self.crashes),
            unload_at=self.unload_at,
        )


@dataclass(frozen=True, slots=True)
class PooledModel:
    """A model of the pool as it is at this moment. Times are seconds since 1970."""

    name: str
    path: str
    state: SeatState
    since: float
    running: int
    """Requests that are being answered,"""
    waiting: int
    """and those that wait: for one of the slots, or until the model is loaded."""
    slots: int
    """Requests that can be answered at the same time."""
    pinned: bool
    memory_bytes: int
    """As planned, of all devices together."""
    loaded: LoadedModel | None
    crashes: int
    unload_at: float | None
