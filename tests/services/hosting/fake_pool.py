"""A pool of engines that do with a prompt what the word says."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localq.engine.client import Engine, Generation, LoadedModel, LoadSettings
from localq.engine.protocol import Pictures, TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.errors import (
    Cancelled,
    EngineClosed,
    EngineCrashed,
    EngineError,
)
from localq.events import JobEvent, Note
from localq.hardware.processes import process_start
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.hosted import HostedModel
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.settings import HostingSettings

__all__ = [
    "Clock",
    "FakeEngine",
    "Fakes",
    "GREEDY",
    "NEVER",
    "PROGRAM",
    "SMALL",
    "fake_pool",
    "in_thread",
    "loaded",
    "notes",
    "pid",
    "process_of",
    "say",
    "use",
    "wait_for_end",
]

GREEDY = SamplingParams(max_tokens=4, temperature=0.0)
SMALL = PlanOptions(n_ctx=128, n_threads=1)
NEVER = HostingSettings(idle_seconds=None)
PROGRAM = """
import sys, threading
from localq.library import Library
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.pool import ModelPool
pool = ModelPool(Library())
with pool.acquire(sys.argv[1], PlanOptions(n_ctx=64, n_threads=1)) as model:
    print(model._seat.life.engine.pid, flush=True)
    sys.stdin.read()
"""


class FakeEngine(Engine):
    """Loads at once, and does with a prompt what the word says."""

    def __init__(self, fakes: Fakes) -> None:
        super().__init__()
        self.fakes = fakes
        self.state = "new"
        self.released = threading.Event()

    @property
    def is_alive(self) -> bool:
        return self.state == "loaded"

    @property
    def pid(self) -> int | None:
        return None

    def load(self, settings: LoadSettings, *, cancel: threading.Event | None = None) -> LoadedModel:
        self.fakes.loads.append(settings.path.stem)
        if self.fakes.on_load:
            self.fakes.on_load(self)
        if cancel and cancel.is_set():
            raise Cancelled
        self.state = "loaded"
        return LoadedModel(settings.n_ctx or 0, 512, 512, 1, "fake", 0.0)

    def crash(self) -> None:
        self.state = "crashed"
        self.released.set()

    def close(self) -> None:
        if self.state != "crashed":
            self.state = "closed"
        self.released.set()

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
        on_logprobs: Callable[[tuple[TokenLogprob, ...]], None] | None = None,
    ) -> Generation:
        if self.state == "closed":
            raise EngineClosed("the engine was closed")
        if prompt == "refuse":
            raise EngineError("too long")
        if prompt == "speak, then wait":
            on_text("text")
        if prompt in ("wait", "speak, then wait"):
            self.fakes.waiting.release()
            assert self.released.wait(30)
        if prompt == "crash":
            self.crash()
        if self.state == "crashed":
            raise EngineCrashed("the engine stopped unexpectedly")
        if self.state == "closed":
            raise EngineClosed("the engine was closed")
        on_text("text")
        return Generation("text", 1, 1, 0, 0, "eos")


class Fakes:
    """Makes engines, and remembers what was loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.engines: list[FakeEngine] = []
        self.waiting = threading.Semaphore(0)
        self.on_load: Callable[[FakeEngine], None] | None = None

    def __call__(self) -> FakeEngine:
        self.engines.append(FakeEngine(self))
        return self.engines[-1]


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


@contextmanager
def fake_pool(
    home: Paths,
    fakes: Fakes,
    events: list[JobEvent],
    *,
    room: int | None = None,
    idle: float | None = None,
    clock: Clock | None = None,
    owner: str = "test",
) -> Iterator[ModelPool]:
    with ModelPool(
        Library(home),
        owner=owner,
        settings=HostingSettings(idle, room),
        emit=events.append,
        make_engine=fakes,
        clock=clock or Clock(),
    ) as pool:
        yield pool


def say(model: HostedModel, prompt: str = "hello") -> str:
    return model.generate(prompt, GREEDY, on_text=lambda _: None).text


def use(pool: ModelPool, path: str, prompt: str = "hello", wait_seconds: float = 0) -> str:
    with pool.acquire(path, SMALL, wait_seconds=wait_seconds) as model:
        return say(model, prompt)


def loaded(pool: ModelPool) -> set[str]:
    return {Path(model.path).stem for model in pool.models() if model.memory_bytes}


@contextmanager
def in_thread(target: Callable[[], object]) -> Iterator[list[object]]:
    """Runs beside the block; what it returned or raised is there after it."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(target())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(60)
        assert not thread.is_alive()


def notes(events: Sequence[JobEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def process_of(hosted: HostedModel) -> subprocess.Popen[bytes]:
    life = hosted._seat.life
    assert life is not None
    assert life.engine._worker is not None
    return life.engine._worker.process


def pid(hosted: HostedModel) -> int:
    return process_of(hosted).pid


def wait_for_end(number: int, start: str | None) -> None:
    deadline = time.monotonic() + 60
    while process_start(number) == start:
        assert time.monotonic() < deadline
