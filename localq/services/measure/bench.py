"""Measure how fast a model is, in llama-bench's terms, and keep what was measured."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from localq.database import Database
from localq.engine.client import Engine, LoadedModel
from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, LibraryError, StorageError, UsageError
from localq.events import Emit, Note, Progress, Started, Unit
from localq.formats.gguf import read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library
from localq.messages import msg
from localq.planning.measurements import (
    Benchmark,
    Measurements,
    Setting,
    SpeedTest,
    machine_name,
)
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.working_engine import working_engine
from localq.services.library.locate import locate_gguf
from localq.services.library.writes_text import check_writes_text
from localq.services.machine.measured_model import subject_of
from localq.services.machine.plan import check_plan, load_settings, plan_gguf, planning_profile

__all__ = ["BenchRequest", "bench", "bench_history"]

_MOST_TOKENS = 1 << 20
_MOST_REPETITIONS = 1000
_UNSTEADY = 0.1
_GREEDY_ONE = SamplingParams(max_tokens=1, temperature=0)


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """`model` None: the one used last. A test of 0 tokens is left out; `plan_options` go before
    what the plan would choose. UsageError."""

    model: str | None = None
    n_prompt: int = 512
    n_generate: int = 128
    repetitions: int = 5
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    force: bool = False

    def __post_init__(self) -> None:
        for what, value in (("prompt", self.n_prompt), ("generation", self.n_generate)):
            if not 0 <= value <= _MOST_TOKENS:
                raise UsageError(
                    msg(
                        "a {what} of {value} tokens; it must be 0 to {most_tokens:,}",
                        what=what,
                        value=value,
                        most_tokens=_MOST_TOKENS,
                    )
                )
        if not self.n_prompt and not self.n_generate:
            raise UsageError(msg("nothing to measure: neither a prompt nor a generation"))
        if not 1 <= self.repetitions <= _MOST_REPETITIONS:
            raise UsageError(
                msg(
                    "{repetitions} repetitions; it must be 1 to {most_repetitions}",
                    repetitions=self.repetitions,
                    most_repetitions=_MOST_REPETITIONS,
                )
            )

    @property
    def tokens(self) -> int:
        """Of all repetitions, and of those before them that do not count."""
        return (self.n_prompt + self.n_generate) * self.repetitions + self.n_prompt


def bench(
    library: Library,
    request: BenchRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
) -> Benchmark:
    """Measure and keep it. Emits Progress in tokens. NotFoundError, EngineError, Cancelled."""
    model = locate_gguf(library, request.model)
    file = read_gguf(model.path)
    check_writes_text(model, file)
    machine = profile or planning_profile(cancel)
    room = max(request.n_prompt + 1, request.n_generate, request.plan_options.n_ctx or 0)
    plan_options = replace(request.plan_options, n_ctx=room)
    planned = plan_gguf(library, model, file, plan_options, profile=machine, cancel=cancel)
    if not request.force:
        check_plan(planned)
    # Without the engine's own choice of threads, which would be measured too.
    settings = replace(load_settings(model.path, planned.plan), adapt_threads=False)
    emit(Started(msg("measuring {name}", name=model.name)))
    with working_engine(
        library,
        emit,
        owner="bench",
        models=[model],
        plans=[planned.plan],
        force=request.force,
        cancel=cancel,
    ) as engine:
        loaded = engine.load(settings, cancel=cancel)
        tests = tuple(_tests(engine, request, emit, cancel))
        first = _first_token(engine, loaded, max(1, request.n_prompt), cancel)
        resident = engine.memory().resident_bytes
    run = Benchmark(
        measured_at=time.time(),
        model=model.name,
        subject=subject_of(file, machine),
        machine_name=machine_name(machine),
        setting=_setting(loaded),
        load_seconds=loaded.load_seconds,
        first_token_seconds=first,
        memory_bytes=sum(memory.total_bytes for memory in loaded.memory),
        resident_bytes=resident,
        tests=tests,
    )
    try:
        Measurements(Database(library.paths.database)).add(run)
    except (LibraryError, StorageError) as error:  # what was measured is shown all the same
        emit(Note(msg("the result was not kept: {error}", error=error), warning=True))
    for test in run.tests:
        if test.stddev > _UNSTEADY * test.mean:
            emit(
                Note(
                    msg("{name} varies by more than a tenth: the machine is busy", name=test.name),
                    True,
                )
            )
    return run


def bench_history(library: Library, model: str | None) -> tuple[Benchmark, ...]:
    """What was measured with models of the same shape and type, latest first."""
    file = read_gguf(locate_gguf(library, model).path)
    subject = subject_of(file, planning_profile())
    return Measurements(Database(library.paths.database)).history(subject.shape, subject.quant)


def _tests(
    engine: Engine, request: BenchRequest, emit: Emit, cancel: threading.Event
) -> Iterator[SpeedTest]:
    done = 0

    def step(n_prompt: int, n_generate: int, stage: str) -> float:
        """Seconds for the one or the other."""
        nonlocal done
        if cancel.is_set():
            raise Cancelled
        measured = engine.measure(n_prompt, n_generate, cancel=cancel)
        done += n_prompt + n_generate
        emit(Progress(stage, min(done, request.tokens), request.tokens, Unit.TOKENS))
        return measured.prompt_seconds + sum(measured.token_seconds)

    if count := request.n_prompt:
        name = f"pp{count}"
        step(count, 0, "warming up")
        yield _test(name, [count / step(count, 0, name) for _ in range(request.repetitions)])
    if count := request.n_generate:
        name = f"tg{count}"
        step(0, 1, "warming up")
        yield _test(name, [count / step(0, count, name) for _ in range(request.repetitions)])


def _test(name: str, speeds: list[float]) -> SpeedTest:
    stddev = statistics.stdev(speeds) if len(speeds) > 1 else 0.0
    return SpeedTest(name, tuple(speeds), statistics.mean(speeds), stddev)


def _first_token(
    engine: Engine, loaded: LoadedModel, n_prompt: int, cancel: threading.Event
) -> float:
    choose = random.Random(1)
    prompt = [choose.randrange(loaded.n_vocab) for _ in range(n_prompt)]
    began = time.perf_counter()
    engine.generate(prompt, _GREEDY_ONE, cancel=cancel, on_text=lambda text: None)
    return time.perf_counter() - began


def _setting(loaded: LoadedModel) -> Setting:
    return Setting(
        n_threads=loaded.n_threads,
        n_threads_batch=loaded.n_threads_batch,
        n_gpu_layers=loaded.n_gpu_layers,
        n_ctx=loaded.n_ctx,
        n_batch=loaded.n_batch,
        n_ubatch=loaded.n_ubatch,
        type_k=loaded.type_k,
        type_v=loaded.type_v,
        flash_attn=loaded.flash_attn,
    )
