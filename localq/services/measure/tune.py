"""Find by measuring how a model runs fastest on this machine, and keep what was found."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from localq.database import Database
from localq.engine.client import Engine
from localq.engine.settings import LoadSettings
from localq.errors import EngineError, LibraryError, StorageError, UsageError
from localq.events import Emit, Note, Progress, Started, Unit
from localq.formats.gguf import read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library
from localq.messages import msg
from localq.planning.measurements import (
    Measurements,
    Subject,
    Tuning,
    TuningPoint,
    machine_name,
)
from localq.planning.offload_plan import PlanOptions
from localq.planning.tuner import Contest, thread_candidates, ubatch_candidates
from localq.services.hosting.working_engine import working_engine
from localq.services.library.locate import locate_gguf
from localq.services.library.writes_text import check_writes_text
from localq.services.machine.measured_model import subject_of
from localq.services.machine.plan import check_plan, load_settings, plan_gguf, planning_profile
from localq.services.machine.tune_log import point_line

__all__ = ["TuneRequest", "TuneResult", "tune"]

_LEAST_BUDGET, _MOST_BUDGET = 1.0, 3600.0
_GENERATION, _PROMPT, _LAYERS = 0.45, 0.65, 0.8
"""Where each sweep has to be done, as a part of the budget; that of batches has the rest."""
_RUN_SECONDS = 0.6
"""What one measurement is meant to take."""
_CONTEXT = 1088
"""Tokens: room for the longest prompt of the sweeps."""
_LONGEST_PROMPT = 1024
_MUCH_LOAD = 0.5
_STAGES = {
    "n_threads": "generation: threads",
    "n_threads_batch": "prompts: threads",
    "n_gpu_layers": "generation: layers",
    "n_ubatch": "prompts: batch",
}
_LAYERS_BELOW = 2
_UBATCH = 512
"""What a model is loaded with that was never tuned."""
_UBATCH_RUNS = 12
"""So many prompts of the longest kind must fit into what is left of the budget."""


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """`model` None: the one used last. `budget` is in seconds, loading included, and is overrun
    by at most one measurement."""

    model: str | None = None
    budget: float = 60.0
    force: bool = False

    def __post_init__(self) -> None:
        if not _LEAST_BUDGET <= self.budget <= _MOST_BUDGET:
            raise UsageError(
                msg(
                    "a budget of {budget:g} seconds; it must be {least_budget:g} to"
                    " {most_budget:,.0f}",
                    budget=self.budget,
                    least_budget=_LEAST_BUDGET,
                    most_budget=_MOST_BUDGET,
                )
            )


@dataclass(frozen=True, slots=True)
class TuneResult:
    model: str
    subject: Subject
    machine_name: str
    tuning: Tuning
    planned: LoadSettings
    """How the model was loaded without it."""
    seconds: float
    not_kept: str | None = None
    """Why what was found is not used from now on; None: it is."""


def tune(
    library: Library,
    request: TuneRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TuneResult:
    """Measure threads, batches and, where there are devices, layers; keep the best of each, if
    the machine had nothing else to do.

    Emits Progress in seconds of the budget, which `clock` tells. NotFoundError, EngineError,
    Cancelled.
    """
    began = clock()
    model = locate_gguf(library, request.model)
    file = read_gguf(model.path)
    check_writes_text(model, file)
    machine = profile or planning_profile(cancel)
    planned = plan_gguf(library, model, file, PlanOptions(), profile=machine, cancel=cancel)
    if not request.force:
        check_plan(planned)
    cpu = machine.cpu
    settings = replace(
        load_settings(model.path, planned.plan),
        n_ctx=min(_CONTEXT, planned.plan.n_ctx),
        n_threads=cpu.threads,
        n_threads_batch=cpu.threads_batch,
        n_batch=_UBATCH,
        n_ubatch=_UBATCH,
        adapt_threads=False,
    )
    subject = subject_of(file, machine)
    not_kept = None
    if (others := _others()) > _MUCH_LOAD:
        emit(
            Note(
                msg(
                    "other programs keep {others:.1f} processors busy: what is fastest now may"
                    " not be so later",
                    others=others,
                ),
                warning=True,
            )
        )
        if not request.force:
            not_kept = "other programs were busy; run it again when they are done, or with --force"
    emit(Started(msg("measuring {name}", name=model.name)))
    with working_engine(
        library,
        emit,
        owner="tune",
        models=[model],
        plans=[planned.plan],
        force=request.force,
        cancel=cancel,
    ) as engine:
        budget = _Budget(request.budget, began, clock)
        sweeps = _Sweeps(engine, settings, budget, emit, cancel)
        sweeps.load(settings)
        n_threads = sweeps.threads(thread_candidates(cpu), cpu.threads)
        n_threads_batch = sweeps.threads_batch(thread_candidates(cpu), cpu.threads_batch)
        n_gpu_layers = sweeps.layers(n_threads)
        n_ubatch = sweeps.ubatch(n_threads_batch, n_gpu_layers)
    tuning = Tuning(
        time.time(), n_threads, n_threads_batch, n_ubatch, n_gpu_layers, tuple(sweeps.points)
    )
    if not_kept is None:
        try:
            Measurements(Database(library.paths.database)).keep(subject, tuning)
        except (LibraryError, StorageError) as error:  # what was measured is shown all the same
            not_kept = str(error)
    return TuneResult(
        model=model.name,
        subject=subject,
        machine_name=machine_name(machine),
        tuning=tuning,
        planned=settings,
        seconds=clock() - began,
        not_kept=not_kept,
    )


def _others() -> float:
    """Processors that were busy in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


@dataclass(frozen=True, slots=True)
class _Budget:
    """Seconds that may be spent from `began` on, as `clock` tells them."""

    seconds: float
    began: float
    clock: Callable[[], float]

    @property
    def spent(self) -> float:
        """The part of it that is gone; above 1: more than there was."""
        return (self.clock() - self.began) / self.seconds

    @property
    def left(self) -> float:
        return self.seconds * (1 - self.spent)


class _Sweeps:
    """The measurements of one tuning; `points` is what they found."""

    def __init__(
        self,
        engine: Engine,
        settings: LoadSettings,
        budget: _Budget,
        emit: Emit,
        cancel: threading.Event,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._budget = budget
        self._emit, self._cancel = emit, cancel
        self._n_prompt = 1
        self._prompt_speed = 0.0
        self.points: list[TuningPoint] = []

    def load(self, settings: LoadSettings) -> None:
        self._settings = settings
        self._n_gpu_layers = self._engine.load(settings, cancel=self._cancel).n_gpu_layers

    def threads(self, candidates: tuple[int, ...], planned: int) -> int:
        """The number of threads to generate with."""
        first = self._token_seconds(3, planned)
        count = max(5, min(64, round(_RUN_SECONDS / first)))
        contest = Contest(candidates, planned)
        return self._sweep(
            "n_threads", contest, lambda n: self._token_seconds(count, n), _GENERATION
        )

    def threads_batch(self, candidates: tuple[int, ...], planned: int) -> int:
        """The number of threads to read prompts with."""
        if self._budget.spent >= _PROMPT:
            return planned
        self._n_prompt = 16
        first = self._prompt_seconds(planned)
        room = self._settings.n_ctx or _LONGEST_PROMPT
        self._n_prompt = max(16, min(512, room, round(_RUN_SECONDS / first) // 16 * 16))
        contest = Contest(candidates, planned, rounds=3)
        best = self._sweep("n_threads_batch", contest, self._prompt_seconds, _PROMPT)
        self._prompt_speed = 1 / contest.costs.get(best, first)
        return best

    def layers(self, n_threads: int) -> int:
        """How many layers go to devices: as many as were planned, or a few less, which is faster
        where a device's driver would move memory about."""
        most = self._n_gpu_layers
        if most < 1:
            return 0
        settings = self._settings

        def cost(n_gpu_layers: int) -> float:
            self.load(replace(settings, n_gpu_layers=n_gpu_layers, n_cpu_moe=0))
            return self._token_seconds(16, n_threads)

        candidates = tuple(range(most, max(0, most - 1 - _LAYERS_BELOW), -1))
        if settings.n_cpu_moe:  # experts are what is short of room then, not layers
            return most
        return self._sweep("n_gpu_layers", Contest(candidates, most, rounds=2), cost, _LAYERS)

    def ubatch(self, n_threads_batch: int, n_gpu_layers: int) -> int | None:
        """How many tokens of a prompt to compute at a time; None: there was no time to see."""
        room = self._settings.n_ctx or _LONGEST_PROMPT
        longest = min(_LONGEST_PROMPT, room, self._prompt_speed * self._budget.left / _UBATCH_RUNS)
        candidates = ubatch_candidates(int(longest))
        if len(candidates) < 2:
            return None
        self._n_prompt = candidates[0]
        settings = replace(self._settings, n_gpu_layers=n_gpu_layers)

        def cost(n_ubatch: int) -> float:
            self.load(replace(settings, n_batch=candidates[0], n_ubatch=n_ubatch))
            return self._prompt_seconds(n_threads_batch)

        planned = max(n for n in candidates if n <= _UBATCH)
        best = self._sweep("n_ubatch", Contest(candidates, planned, rounds=2), cost, 1.0)
        # With too short a prompt to try the planned size the largest one stands for it.
        return None if best == planned else best

    def _sweep(
        self, setting: str, contest: Contest, cost: Callable[[int], float], until: float
    ) -> int:
        """Measure until the contest is decided, or `until` that part of the budget is spent."""
        while (candidate := contest.next) is not None and self._budget.spent < until:
            stage = f"{_STAGES[setting]} {candidate}"
            self._emit(Progress(stage, *self._progress(), Unit.SECONDS))
            is_first = candidate not in contest.costs
            try:
                contest.record(candidate, cost(candidate))
                if is_first:
                    self._tell(setting, candidate, contest.costs[candidate])
            except EngineError as error:  # what does not fit is no choice
                self._emit(
                    Note(
                        msg(
                            "{setting} {candidate}: {message}",
                            setting=setting,
                            candidate=candidate,
                            message=error.message,
                        )
                    )
                )
                contest.record(candidate, float("inf"))
        for value, seconds in sorted(contest.costs.items()):
            self.points.append(TuningPoint(setting, value, 1 / seconds))
        return contest.best

    def _tell(self, setting: str, value: int, seconds: float) -> None:
        self._emit(Note(point_line(TuningPoint(setting, value, 1 / seconds))))

    def _token_seconds(self, count: int, n_threads: int) -> float:
        """The median time of a token; the first of them warms up."""
        done = self._engine.measure(0, count, n_threads=n_threads, cancel=self._cancel)
        return statistics.median(done.token_seconds[1:])

    def _prompt_seconds(self, n_threads_batch: int) -> float:
        """The time of one token of a prompt."""
        count = self._n_prompt
        done = self._engine.measure(count, 0, n_threads_batch=n_threads_batch, cancel=self._cancel)
        return done.prompt_seconds / count

    def _progress(self) -> tuple[int, int]:
        total = round(self._budget.seconds)
        return min(total, int(total * self._budget.spent)), total
