"""What was measured with models, kept in the database: benchmarks and tunings."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from localq.database import Database
from localq.database.rows import insert
from localq.hardware.profile import HardwareProfile
from localq.json_codec import from_json, to_json
from localq.planning.model_shape import TensorLike

__all__ = [
    "Benchmark",
    "Measurements",
    "Setting",
    "SpeedTest",
    "Subject",
    "Tuning",
    "TuningPoint",
    "machine_key",
    "machine_name",
    "shape_key",
]

_DIGITS = 16
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """What a measurement holds for: any model of this shape and type, on such a machine, with
    this build of the engine."""

    shape: str
    quant: str
    machine: str
    engine: str


@dataclass(frozen=True, slots=True)
class Setting:
    """How the model was loaded, as far as it matters for speed."""

    n_threads: int
    n_threads_batch: int
    n_gpu_layers: int
    n_ctx: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attn: bool


@dataclass(frozen=True, slots=True)
class SpeedTest:
    """Tokens per second, in llama-bench's terms: "pp512" reads a prompt of 512 tokens, "tg128"
    generates 128."""

    name: str
    samples: tuple[float, ...]
    mean: float
    stddev: float
    """Of the samples (n - 1); 0 of a single one."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One run of `localq bench`; `measured_at` is in seconds since 1970."""

    measured_at: float
    model: str
    subject: Subject
    machine_name: str
    setting: Setting
    load_seconds: float
    first_token_seconds: float
    """From the request to the first token after the prompt of the pp test, all included."""
    memory_bytes: int
    """What llama.cpp allocated, mapped weights included."""
    resident_bytes: int | None
    tests: tuple[SpeedTest, ...]


@dataclass(frozen=True, slots=True)
class TuningPoint:
    """The median speed at one value of one setting, in tokens per second; 0: it did not load."""

    setting: str
    value: int
    speed: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The fastest way to run a model that was found. `n_ubatch` None: not measured."""

    measured_at: float
    n_threads: int
    n_threads_batch: int
    n_ubatch: int | None
    n_gpu_layers: int
    points: tuple[TuningPoint, ...]


class Measurements:
    """The tables of `localq.database.migrations.m5_tuning`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: Benchmark) -> None:
        """Keep a benchmark; of the oldest, all but a thousand are forgotten."""
        row = {
            **to_json(run.subject),
            "measured_at": run.measured_at,
            "model": run.model,
            "machine_name": run.machine_name,
            "setting": _json(run.setting),
            "load_seconds": run.load_seconds,
            "first_token_seconds": run.first_token_seconds,
            "memory_bytes": run.memory_bytes,
            "resident_bytes": run.resident_bytes,
            "tests": _json(run.tests),
        }
        with self._database.write() as db:
            insert(db, "benchmarks", row)
            db.execute(
                "DELETE FROM benchmarks WHERE id NOT IN"
                " (SELECT id FROM benchmarks ORDER BY id DESC LIMIT ?)",
                (_KEPT,),
            )

    def history(self, shape: str, quant: str) -> tuple[Benchmark, ...]:
        """The benchmarks of models of this shape and type, latest first."""
        with self._database.read() as db:
            if db is None:
                return ()
            rows = db.execute(
                "SELECT measured_at, model, shape, quant, machine, engine, machine_name, setting,"
                " load_seconds, first_token_seconds, memory_bytes, resident_bytes, tests"
                " FROM benchmarks WHERE shape = ? AND quant = ? ORDER BY measured_at DESC, id DESC",
                (shape, quant),
            ).fetchall()
        return tuple(run for row in rows if (run := _benchmark(row)))

    def keep(self, subject: Subject, tuning: Tuning) -> None:
        """Keep a tuning in place of the one there was."""
        row = {**to_json(subject), **to_json(tuning), "points": _json(tuning.points)}
        with self._database.write() as db:
            insert(db, "tunings", row, replace=True)

    def tuning(self, subject: Subject) -> Tuning | None:
        """What was found for it, if it was ever tuned."""
        with self._database.read() as db:
            if db is None:
                return None
            row = db.execute(
                "SELECT measured_at, n_threads, n_threads_batch, n_ubatch, n_gpu_layers, points"
                " FROM tunings WHERE shape = ? AND quant = ? AND machine = ? AND engine = ?",
                (subject.shape, subject.quant, subject.machine, subject.engine),
            ).fetchone()
        if row is None:
            return None
        try:
            points = from_json(tuple[TuningPoint, ...], json.loads(row[5]))
        except (ValueError, TypeError):  # edited by hand: the numbers beside them still hold
            points = ()
        measured_at, n_threads, n_threads_batch, n_ubatch, n_gpu_layers, _ = row
        return Tuning(measured_at, n_threads, n_threads_batch, n_ubatch, n_gpu_layers, points)


def shape_key(architecture: str, tensors: Iterable[TensorLike]) -> str:
    """Names what is computed, whatever the weights: fine-tunes of one model have the same."""
    digest = hashlib.sha256()
    for name, shape in sorted((tensor.name, tensor.shape) for tensor in tensors):
        digest.update(f"{name}\0{shape}\n".encode("utf-8", "replace"))
    return f"{architecture}-{digest.hexdigest()[:_DIGITS]}"


def machine_key(profile: HardwareProfile) -> str:
    """Names what computes: another processor, quota or accelerator makes it another machine."""
    cpu = profile.cpu
    parts = (
        cpu.model,
        cpu.architecture,
        cpu.threads,
        cpu.threads_batch,
        cpu.allowed_cpus,
        cpu.quota_cpus,
        sorted((a.name, a.total_bytes or 0) for a in profile.accelerators),
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:_DIGITS]


def machine_name(profile: HardwareProfile) -> str:
    """The machine in words: "AMD EPYC, 2 threads"."""
    names = [profile.cpu.model or profile.cpu.architecture or "unknown processor"]
    names += [accelerator.name for accelerator in profile.accelerators]
    return f"{', '.join(names)}, {profile.cpu.threads} threads"


def _benchmark(row: sqlite3.Row | tuple[Any, ...]) -> Benchmark | None:
    """None where somebody edited the row."""
    measured_at, model, shape, quant, machine, engine, name, setting = row[:8]
    load_seconds, first_token_seconds, memory_bytes, resident_bytes, tests = row[8:]
    try:
        return Benchmark(
            measured_at,
            model,
            Subject(shape, quant, machine, engine),
            name,
            from_json(Setting, json.loads(setting)),
            load_seconds,
            first_token_seconds,
            memory_bytes,
            resident_bytes,
            from_json(tuple[SpeedTest, ...], json.loads(tests)),
        )
    except (ValueError, TypeError):
        return None


def _json(value: object) -> str:
    return json.dumps(to_json(value), separators=(",", ":"))
