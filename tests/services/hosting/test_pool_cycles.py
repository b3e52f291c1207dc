"""Pools opened, cancelled, killed and closed again and again: nothing of them stays."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, EngineError
from localq.library import Library
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.hosted import HostedModel
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.settings import HostingSettings
from localq.services.hosting.stop import loaded_models, stop_models
from tests.engine.test_engine import DEMO, ONCE, is_running, make_gguf, unheard
from tests.engine.test_engine_cycles import MOST_GROWTH, Held

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FEW = SamplingParams(max_tokens=3, temperature=0)
ENDLESS = SamplingParams(max_tokens=10**6, temperature=0, ignore_eos=True)
PLAN = PlanOptions(n_ctx=1 << 14, n_threads=1)
WARM_UP = 3


class Cycle:
    """One life of a pool. What is done to it, and when, `chance` says."""

    def __init__(self, library: Library, gguf: Path, chance: random.Random) -> None:
        self.library = library
        self.gguf = str(gguf)
        self.chance = chance
        idle = chance.choice((None, 0.0))
        self.pool = ModelPool(library, owner="cycle", n_seq_max=2, settings=HostingSettings(idle))
        self.pids: set[int] = set()

    def run(self) -> None:
        kinds: tuple[Callable[[], None], ...] = (
            self.works,
            self.cancel_a_load,
            self.cancel_a_text,
            self.kill,
            self.kill_while_idle,
            self.stop_from_outside,
            self.close_in_the_middle,
        )
        with self.pool:
            self.chance.choice(kinds)()
        for pid in self.pids:
            assert not is_running(pid)
        assert loaded_models(self.library.paths) == ()
        left = {path.name for path in (self.library.paths.cache / "workers").glob("*")}
        assert left <= {"registry.lock"}, left

    def open(self, cancel: threading.Event | None = None) -> HostedModel:
        hosted = self.pool.open(self.pool.prepare(self.gguf, PLAN), cancel=cancel)
        self.pid()
        return hosted

    def pid(self) -> int | None:
        for record in loaded_models(self.library.paths):
            if record.pid is not None:
                self.pids.add(record.pid)
                return record.pid
        return None

    def says(self, hosted: HostedModel) -> None:
        with hosted.in_use():
            assert hosted.generate(ONCE, FEW, on_text=unheard).generated_tokens == 3

    def works(self) -> None:
        with self.open() as hosted:
            self.says(hosted)

    def cancel_a_load(self) -> None:
        cancel = threading.Event()
        timer = threading.Timer(self.chance.uniform(0, 0.5), cancel.set)
        timer.start()
        with suppress(Cancelled), self.open(cancel):
            pass
        timer.cancel()
        timer.join()
        self.works()

    def cancel_a_text(self) -> None:
        with self.open() as hosted:
            cancel = threading.Event()
            pieces = self.chance.randrange(1, 20)
            heard: list[str] = []

            def hear(text: str) -> None:
                heard.append(text)
                if len(heard) == pieces:
                    cancel.set()

            assert hosted.generate(ONCE, ENDLESS, cancel=cancel, on_text=hear).stop == "cancelled"
            self.says(hosted)

    def kill(self) -> None:
        """At any moment of a text: one clear line, and the next prompt works."""
        with self.open() as hosted, hosted.in_use():
            hosted.revive()  # where it was unloaded at once
            pid = self.pid()
            assert pid is not None
            (problem,) = self.beside(hosted, lambda: os.kill(pid, signal.SIGKILL))
            assert "\n" not in problem.message
            self.says(hosted)
            self.pid()

    def stop_from_outside(self) -> None:
        with self.open() as hosted, hosted.in_use():
            problems = self.beside(
                hosted,
                lambda: stop_models(self.library.paths, [self.gguf], force=True),
            )
            assert "was unloaded while it worked" in problems[0].message
            self.says(hosted)
            self.pid()

    def close_in_the_middle(self) -> None:
        hosted = self.open()
        problems = self.beside(hosted, self.pool.close)
        assert "\n" not in problems[0].message

    def kill_while_idle(self) -> None:
        with self.open() as hosted, hosted.in_use():
            if pid := self.pid():
                os.kill(pid, signal.SIGKILL)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # all its threads, too
            self.says(hosted)
            self.pid()

    def beside(self, hosted: HostedModel, disturb: Callable[[], object]) -> list[EngineError]:
        """What becomes of an endless text that is disturbed at some moment."""
        problems: list[EngineError] = []
        heard = threading.Event()

        def run() -> None:
            try:
                hosted.generate(ONCE, ENDLESS, on_text=lambda _: heard.set())
            except EngineError as error:
                problems.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert heard.wait(120)
        threading.Event().wait(self.chance.uniform(0, 0.1))
        disturb()
        thread.join(120)
        assert not thread.is_alive()
        return problems


@pytest.mark.parametrize(
    "cycles",
    [
        3,
        pytest.param(60, marks=pytest.mark.slow),
        pytest.param(1000, marks=pytest.mark.full),
    ],
)
def test_nothing_stays_of_pools_that_were(cycles: int, library: Library, tmp_path: Path) -> None:
    gguf = make_gguf(DEMO, tmp_path)
    chance = random.Random(cycles)
    before: Held | None = None
    for number in range(WARM_UP + cycles):
        if number == WARM_UP:
            before = Held()
        Cycle(library, gguf, chance).run()
    after = Held()
    assert before is not None
    assert after.files == before.files
    assert after.threads == before.threads
    assert after.children == before.children
    assert after.locks == before.locks
    growth = after.memory - before.memory
    logging.getLogger(__name__).info("%d cycles: memory grew by %d bytes", cycles, growth)
    assert growth < MOST_GROWTH
