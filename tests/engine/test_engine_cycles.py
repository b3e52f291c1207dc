"""Engines started, cancelled and killed again and again: nothing of them stays."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.errors import Cancelled, EngineError
from tests.engine.test_engine import DEMO, ONCE, is_running, make_gguf, unheard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FEW = SamplingParams(max_tokens=3, temperature=0)
ENDLESS = SamplingParams(max_tokens=10**6, temperature=0, ignore_eos=True)
WARM_UP = 3
"""Cycles after which everything that is made once has been made."""
MOST_GROWTH = 16 << 20
"""Bytes of memory, over all cycles: what the allocator and the interpreter make of them."""


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


class Held:
    """What this process has."""

    def __init__(self) -> None:
        gc.collect()
        self.files = sorted(_kind(fd) for fd in Path("/proc/self/fd").iterdir())
        self.threads = sorted(thread.name for thread in threading.enumerate())
        self.children = [
            child
            for task in Path("/proc/self/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        own = f" {os.getpid()} "
        self.locks = [line for line in Path("/proc/locks").read_text().splitlines() if own in line]
        statm = Path("/proc/self/statm").read_text().split()
        self.memory = (int(statm[1]) - int(statm[2])) * os.sysconf("SC_PAGE_SIZE")


def _kind(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink()).split("[")[0]  # without the number of a pipe
    except OSError:  # that of the listing itself
        return ""


class Cycle:
    """One life of an engine. What is done to it, and when, `chance` says."""

    def __init__(self, gguf: Path, folder: Path, chance: random.Random) -> None:
        self.settings = LoadSettings(gguf, n_ctx=2048, n_threads=1, n_seq_max=2)
        self.chance = chance
        self.engine = Engine(log=folder / "engine.log")

    def run(self) -> None:
        kinds: tuple[Callable[[], None], ...] = (
            self.close_at_once,
            self.cancel_a_load,
            self.cancel_a_text,
            self.kill,
            self.kill,
            self.close_in_the_middle,
        )
        with self.engine:
            self.chance.choice(kinds)()
            pid = self.engine.pid
        assert pid is None or not is_running(pid)

    def load(self) -> None:
        self.engine.load(self.settings)

    def works(self) -> None:
        assert self.engine.generate(ONCE, FEW, on_text=unheard).generated_tokens == 3

    def close_at_once(self) -> None:
        if self.chance.random() < 0.7:
            self.load()

    def cancel_a_load(self) -> None:
        cancel = threading.Event()
        timer = threading.Timer(self.chance.uniform(0, 0.5), cancel.set)
        timer.start()
        try:
            self.engine.load(self.settings, cancel=cancel)
        except Cancelled:
            self.load()
        timer.cancel()
        timer.join()
        self.works()

    def cancel_a_text(self) -> None:
        self.load()
        cancel = threading.Event()
        pieces = self.chance.randrange(1, 20)
        heard: list[str] = []

        def hear(text: str) -> None:
            heard.append(text)
            if len(heard) == pieces:
                cancel.set()

        done = self.engine.generate(ONCE, ENDLESS, cancel=cancel, on_text=hear)
        assert done.stop == "cancelled"
        self.works()

    def kill(self) -> None:
        """At any moment of any request: one clear line, and the next prompt works."""
        request = self.chance.choice((self.generate, self.embed, self.tokenize, self.load))
        if request != self.load:
            self.load()
            pid = self.engine.pid
        else:
            pid = None
        problems: list[EngineError] = []

        def ask() -> None:
            try:
                while True:
                    request()
            except EngineError as error:
                problems.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while pid is None:
            pid = self.engine.pid
        threading.Event().wait(self.chance.uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
        thread.join(60)
        assert not thread.is_alive()
        (problem,) = problems
        assert "\n" not in problem.message
        assert "the engine stopped unexpectedly (signal 9, SIGKILL)" in problem.message
        assert problem.hint
        self.load()
        self.works()

    def close_in_the_middle(self) -> None:
        self.load()
        heard = threading.Event()
        problems: list[EngineError] = []

        def ask() -> None:
            try:
                self.engine.generate(ONCE, ENDLESS, on_text=lambda _: heard.set())
            except EngineError as error:
                problems.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert heard.wait(60)
        self.engine.close()
        thread.join(60)
        assert not thread.is_alive()
        assert "was closed" in str(problems[0])

    def generate(self) -> None:
        self.engine.generate(ONCE, ENDLESS, on_text=unheard)

    def embed(self) -> None:
        self.engine.embed([ONCE * 20] * 50)

    def tokenize(self) -> None:
        self.engine.tokenize(ONCE * 1000)


@pytest.mark.parametrize(
    "cycles",
    [
        5,
        pytest.param(100, marks=pytest.mark.slow),
        pytest.param(1000, marks=pytest.mark.full),
    ],
)
def test_nothing_stays_of_engines_that_were(cycles: int, story_gguf: Path, tmp_path: Path) -> None:
    chance = random.Random(cycles)
    before: Held | None = None
    for number in range(WARM_UP + cycles):
        if number == WARM_UP:
            before = Held()
        Cycle(story_gguf, tmp_path, chance).run()
    after = Held()
    assert before is not None
    assert after.files == before.files
    assert after.threads == before.threads
    assert after.children == before.children
    assert after.locks == before.locks
    growth = after.memory - before.memory
    logging.getLogger(__name__).info("%d cycles: memory grew by %d bytes", cycles, growth)
    assert growth < MOST_GROWTH
