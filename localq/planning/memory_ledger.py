"""What was predicted for each load, and what llama.cpp then took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from localq.database import Database
from localq.database.rows import insert
from localq.planning.estimate import MemoryEstimate

__all__ = ["Drift", "LedgerEntry", "MemoryLedger", "MemoryParts"]

_KEPT = 500
_COLUMNS = (
    "loaded_at, model, engine, settings,"
    " predicted_weights, predicted_cache, predicted_compute, predicted_overhead,"
    " measured_weights, measured_cache, measured_compute, measured_overhead"
)


@dataclass(frozen=True, slots=True)
class MemoryParts:
    """Bytes over all devices; `overhead` None: unknown."""

    weights: int
    cache: int
    compute: int
    overhead: int | None = None

    @classmethod
    def of_estimate(cls, estimate: MemoryEstimate) -> MemoryParts:
        return cls(estimate.weights, estimate.kv_cache, estimate.compute, estimate.overhead)

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + (self.overhead or 0)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One load. `loaded_at` is in seconds since 1970."""

    model: str
    engine: str
    settings: Mapping[str, object]
    predicted: MemoryParts
    measured: MemoryParts
    loaded_at: float

    @property
    def error(self) -> float:
        """How far off the total was: 0.02 is 2 % more than was taken, -0.02 is 2 % less."""
        measured = self.measured.total
        predicted = self.predicted.total
        if self.measured.overhead is None:
            predicted -= self.predicted.overhead or 0
        return predicted / measured - 1 if measured else 0.0


@dataclass(frozen=True, slots=True)
class Drift:
    """The predictions of the latest loads, each model and setting counted once."""

    loads: int
    median: float
    lowest: float
    highest: float
    worst: LedgerEntry
    """The one that was furthest below the truth."""


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    """The latest 500 loads, in localq's database."""

    database: Database

    def record(self, entry: LedgerEntry, *, wait: float | None = None) -> None:
        """Add an entry; the oldest ones go. `wait`: seconds for other writers."""
        predicted, measured = entry.predicted, entry.measured
        row = {
            "loaded_at": entry.loaded_at,
            "model": entry.model,
            "engine": entry.engine,
            "settings": json.dumps(dict(entry.settings), sort_keys=True),
            "predicted_weights": predicted.weights,
            "predicted_cache": predicted.cache,
            "predicted_compute": predicted.compute,
            "predicted_overhead": predicted.overhead or 0,
            "measured_weights": measured.weights,
            "measured_cache": measured.cache,
            "measured_compute": measured.compute,
            "measured_overhead": measured.overhead,
        }
        with self.database.write(wait) as connection:
            insert(connection, "memory_loads", row)
            connection.execute(
                "DELETE FROM memory_loads WHERE id <= (SELECT max(id) FROM memory_loads) - ?",
                (_KEPT,),
            )

    def entries(self, engine: str | None = None) -> list[LedgerEntry]:
        """All, the latest first; of one build of the engine alone where it is named."""
        with self.database.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM memory_loads WHERE ?1 IS NULL OR engine = ?1"
                " ORDER BY id DESC",
                (engine,),
            ).fetchall()
        return [_entry(row) for row in rows]

    def drift(self, engine: str | None = None) -> Drift | None:
        """How near the predictions came; None where nothing was loaded yet."""
        latest: dict[tuple[str, str], LedgerEntry] = {}
        for entry in self.entries(engine):
            key = entry.model, json.dumps(dict(entry.settings), sort_keys=True)
            latest.setdefault(key, entry)
        if not latest:
            return None
        entries = sorted(latest.values(), key=lambda entry: entry.error)
        errors = [entry.error for entry in entries]
        return Drift(len(entries), median(errors), errors[0], errors[-1], entries[0])


def _entry(row: tuple[object, ...]) -> LedgerEntry:
    loaded_at, model, engine, settings, *sizes = row
    # Whatever another program wrote there is read as nothing.
    numbers = [size if isinstance(size, int) else None for size in sizes]
    known = [number or 0 for number in numbers]
    try:
        decoded = json.loads(str(settings))
    except ValueError:
        decoded = {}
    return LedgerEntry(
        model=str(model),
        engine=str(engine),
        settings=decoded if isinstance(decoded, dict) else {},
        predicted=MemoryParts(known[0], known[1], known[2], known[3]),
        measured=MemoryParts(known[4], known[5], known[6], numbers[7]),
        loaded_at=float(loaded_at) if isinstance(loaded_at, int | float) else 0.0,
    )
