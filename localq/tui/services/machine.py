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
    from localq.planning.measurements import Benchmark
    from localq.services.machine.plan import PlannedModel
    from localq.tui.snippets import Snippet

__all__ = ["Fitting", "MachineServices"]


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

    def bench_history(self, name: str) -> tuple[Benchmark, ...]:
        """What was measured with models of this one's shape and type, latest first."""
        from localq.services.machine.bench import bench_history

        return bench_history(self._library, name)

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
        plan = plan_model(self._library, model.name, cancel=cancel).plan
        flags = llama_cpp_flags(model.path, plan)
        return snippets(model, flags, langchain_arguments(model.path, plan), plan)
