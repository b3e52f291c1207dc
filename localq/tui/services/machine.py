"""This machine: what it has, how a model would be loaded, how fast it was."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localq.errors import LocalqError
from localq.events import Emit

if TYPE_CHECKING:
    from localq.hardware.profile import HardwareProfile
    from localq.library import Library, Model
    from localq.planning.measurements import Benchmark, Tuning, TuningPoint
    from localq.services.machine.plan import PlannedModel
    from localq.tui.snippets import Snippet

__all__ = ["Fitting", "Loading", "MachineServices"]


@dataclass(frozen=True, slots=True)
class Loading:
    """How a model would be loaded here; how fast its like was found to be, latest first."""

    name: str
    planned: PlannedModel
    tuning: Tuning | None
    history: tuple[Benchmark, ...]


@dataclass(frozen=True, slots=True)
class Fitting:
    """The memory a model takes as planned, and whether it is there."""

    bytes: int
    fits: bool


class MachineServices:
    def __init__(self, library: Library) -> None:
        self._library = library

    def profile(self, emit: Emit, cancel: threading.Event) -> HardwareProfile:
        from localq.services.machine.hardware import HardwareRequest, inspect_hardware

        return inspect_hardware(self._library.paths, HardwareRequest(), emit, cancel)

    def plan(
        self, name: str, n_ctx: int | None = None, cancel: threading.Event | None = None
    ) -> PlannedModel:
        """How the model would be loaded, with `n_ctx` tokens of context (None: as many as are
        useful and fit)."""
        from localq.planning.offload_plan import PlanOptions
        from localq.services.machine.plan import plan_model

        return plan_model(self._library, name, PlanOptions(n_ctx=n_ctx), cancel=cancel)

    def loading(self, name: str, n_ctx: int | None, cancel: threading.Event) -> Loading:
        """How the model would be loaded, and what was measured with its like."""
        from localq.formats.gguf import read_gguf
        from localq.services.machine.measured_model import best_tuning
        from localq.services.machine.plan import planning_profile
        from localq.services.measure.bench import bench_history

        planned = self.plan(name, n_ctx, cancel)
        file, profile = read_gguf(planned.model.path), planning_profile(cancel)
        tuning = best_tuning(self._library.paths, file, profile)
        return Loading(name, planned, tuning, bench_history(self._library, name))

    def tuned_so_far(self, job_id: int) -> Sequence[TuningPoint]:
        """What a tuning that runs has measured by now."""
        from localq.services.machine.tune_log import points_in
        from localq.tui.services.jobs import JobServices

        return points_in(JobServices(self._library).log(job_id))

    def fittings(self, names: Sequence[str], cancel: threading.Event) -> Mapping[str, Fitting]:
        """What loading takes of each model that a plan can be made for."""
        from localq.services.machine.plan import plan_model, planning_profile

        profile = planning_profile(cancel)
        found = {}
        for name in names:
            if cancel.is_set():
                break
            try:
                plan = plan_model(self._library, name, profile=profile, cancel=cancel).plan
            except LocalqError:
                continue  # its details say what is wrong
            found[name] = Fitting(sum(device.total for device in plan.estimate.devices), plan.fits)
        return found

    def snippets(self, model: Model, cancel: threading.Event) -> list[Snippet]:
        """How other programs use the model as it would be loaded here."""
        from localq.services.machine.plan import plan_model
        from localq.services.machine.plan_arguments import langchain_arguments, llama_cpp_flags
        from localq.tui.snippets import snippets

        if not model.format.is_runnable:
            return snippets(model, (), {}, None)
        planned = plan_model(self._library, model.name, cancel=cancel)
        plan = planned.plan
        flags = llama_cpp_flags(model.path, plan, planned.projector)
        return snippets(model, flags, langchain_arguments(model.path, plan), plan)
