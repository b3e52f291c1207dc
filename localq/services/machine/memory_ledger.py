"""Keep what was predicted of a load beside what the engine says it took."""

from __future__ import annotations

import time

from localq.database import Database
from localq.engine.client import LoadedModel, LoadSettings
from localq.engine.memory_report import BufferMemory
from localq.json_codec import to_json
from localq.messages import msg
from localq.paths import Paths
from localq.planning.estimate import MemoryEstimate
from localq.planning.memory_ledger import LedgerEntry, MemoryLedger, MemoryParts

__all__ = ["ledger", "measured_parts", "record_load"]

_MAPPED = "_Mapped"
_HOST = msg("CPU")
_WAIT_SECONDS = 2.0  # nobody waits for a note


def ledger(paths: Paths) -> MemoryLedger:
    return MemoryLedger(Database(paths.database))


def record_load(
    paths: Paths, model: str, settings: LoadSettings, estimate: MemoryEstimate, loaded: LoadedModel
) -> LedgerEntry | None:
    """Write down a load; None where the engine did not say what it took, or there is no library
    to write it into."""
    books = ledger(paths)
    measured = measured_parts(loaded, estimate.weights)
    if measured is None or not books.database.exists():
        return None
    given = to_json(settings)
    # Of the disk, not of memory; and a projector is not loaded yet.
    for elsewhere in ("path", "state_folder", "state_bytes", "projector"):
        del given[elsewhere]
    entry = LedgerEntry(
        model=model.casefold(),
        engine=loaded.build,
        settings=given,
        predicted=MemoryParts.of_estimate(estimate),
        measured=measured,
        loaded_at=time.time(),
    )
    books.record(entry, wait=_WAIT_SECONDS)
    return entry


def measured_parts(loaded: LoadedModel, weights: int) -> MemoryParts | None:
    """What llama.cpp took, from its own report. `weights` are those of the file, in bytes.

    A mapped file counts as a whole in that report, also what was copied out of it to be laid out
    anew and is not looked at again: of the mapping only what is nowhere else counts here.
    """
    if not loaded.memory:
        return None
    copied = sum(b.model_bytes for b in loaded.memory if not b.buffer.endswith(_MAPPED))
    mapped = sum(b.model_bytes for b in loaded.memory if b.buffer.endswith(_MAPPED))
    return MemoryParts(
        weights=copied + min(mapped, max(0, weights - copied)),
        cache=sum(b.context_bytes for b in loaded.memory),
        compute=sum(b.compute_bytes + b.output_bytes for b in loaded.memory),
        overhead=_overhead(loaded),
    )


def _overhead(loaded: LoadedModel) -> int | None:
    """What the process holds besides weights and cache; its program is in files and not counted.

    Right after loading nothing was computed yet, so that room for that is not held.
    """
    if loaded.anonymous_bytes is None:
        return None
    held = sum(b.model_bytes + b.context_bytes for b in loaded.memory if _is_host_copy(b))
    return max(0, loaded.anonymous_bytes - held)


def _is_host_copy(memory: BufferMemory) -> bool:
    return memory.buffer.startswith(_HOST) and not memory.buffer.endswith(_MAPPED)
