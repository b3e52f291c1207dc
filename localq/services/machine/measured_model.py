"""What measurements of a model are filed under, and what they found."""

from __future__ import annotations

from localq.database import Database
from localq.engine.devices import engine_version
from localq.formats.gguf import GGUFFile
from localq.hardware.profile import HardwareProfile
from localq.paths import Paths
from localq.planning.measurements import Measurements, Subject, Tuning, machine_key, shape_key
from localq.planning.offload_plan import Tuned

__all__ = ["best_tuning", "subject_of", "tuned_for"]

_BATCH = 512


def subject_of(file: GGUFFile, profile: HardwareProfile) -> Subject:
    return Subject(
        shape=shape_key(file.architecture, file.tensors),
        quant=file.quant,
        machine=machine_key(profile),
        engine=engine_version() or "",
    )


def best_tuning(paths: Paths, file: GGUFFile, profile: HardwareProfile) -> Tuning | None:
    """What `localq tune` found for such a model on this machine with this engine."""
    return Measurements(Database(paths.database)).tuning(subject_of(file, profile))


def tuned_for(paths: Paths, file: GGUFFile, profile: HardwareProfile) -> Tuned | None:
    """The same in the planner's words."""
    found = best_tuning(paths, file, profile)
    if found is None:
        return None
    n_batch = max(_BATCH, found.n_ubatch) if found.n_ubatch else None
    compared = any(point.setting == "n_gpu_layers" for point in found.points)
    return Tuned(
        found.n_threads,
        found.n_threads_batch,
        n_batch,
        found.n_ubatch,
        found.n_gpu_layers if compared else None,
    )
