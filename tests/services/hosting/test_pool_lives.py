"""What becomes of requests when engines crash, are stopped, are killed, or their pool closes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from localq.errors import (
    Cancelled,
    EngineClosed,
    EngineCrashed,
    EngineError,
    NotFoundError,
)
from localq.events import JobEvent
from localq.hardware.processes import process_start
from localq.library import Library
from localq.paths import Paths
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.stop import loaded_models
from tests.services.hosting.fake_pool import (
    NEVER,
    PROGRAM,
    SMALL,
    Clock,
    FakeEngine,
    Fakes,
    fake_pool,
    in_thread,
    process_of,
    say,
    use,
    wait_for_end,
)


def test_the_culprit_fails_and_the_next_request_works(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    with fake_pool(home, fakes, events) as pool:
        with pytest.raises(EngineError, match="too long"):
            use(pool, models["a"], "refuse")
        assert fakes.loads == ["a"]
        with pytest.raises(EngineCrashed, match="stopped unexpectedly"):
            use(pool, models["a"], "crash")
        assert use(pool, models["a"]) == "text"
        assert fakes.loads == ["a", "a"]


def test_those_who_shared_a_dead_engine(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    """One has streamed, one has not, and the third brings the engine down, alone too."""
    with fake_pool(home, fakes, events) as pool, ExitStack() as stack:
        use(pool, models["a"])
        prompts = ["wait", "speak, then wait"]
        quiet, heard = [
            stack.enter_context(in_thread(lambda prompt=prompt: use(pool, models["a"], prompt)))  # type: ignore[misc]
            for prompt in prompts
        ]
        for _ in prompts:
            fakes.waiting.acquire()
        fakes.on_load = lambda engine: engine.released.set()
        with pytest.raises(EngineCrashed, match=r"stopped unexpectedly$"):
            use(pool, models["a"], "crash")
        stack.close()
        assert quiet == ["text"]
        [error] = heard
        assert isinstance(error, EngineCrashed)
        assert "cut off" in error.message
        assert use(pool, models["a"]) == "text"


def test_three_crashes_set_a_model_aside(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    clock = Clock()
    with fake_pool(home, fakes, events, clock=clock) as pool:
        for _ in range(2):
            with pytest.raises(EngineCrashed):
                use(pool, models["a"], "crash")
        clock.now += 7200  # long ago
        for _ in range(3):
            assert use(pool, models["a"]) == "text"
            with pytest.raises(EngineCrashed):
                use(pool, models["a"], "crash")
        with pytest.raises(EngineError, match="set aside: its engine has crashed 3 times"):
            use(pool, models["a"])
        [aside] = pool.models()
        assert (aside.state, aside.memory_bytes) == ("set aside", 0)
        pool.forgive(models["a"])
        assert use(pool, models["a"]) == "text"


def test_a_load_that_crashes_counts_too(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    def crash(engine: FakeEngine) -> None:
        raise EngineCrashed("the engine stopped unexpectedly while loading")

    fakes.on_load = crash
    with fake_pool(home, fakes, events) as pool:
        for _ in range(3):
            with pytest.raises(EngineCrashed):
                use(pool, models["a"])
        with pytest.raises(EngineError, match="set aside"):
            use(pool, models["a"])
        assert pool.stop(models["a"])
        fakes.on_load = None
        assert use(pool, models["a"]) == "text"
        with pytest.raises(NotFoundError):
            pool.stop(models["b"])


def test_stopping_a_busy_model_needs_force(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    with fake_pool(home, fakes, events) as pool:
        with in_thread(lambda: use(pool, models["a"], "wait")) as outcome:
            fakes.waiting.acquire()
            assert not pool.stop(models["a"])
            assert pool.stop(models["a"], force=True, by="someone")
        [error] = outcome
        assert isinstance(error, EngineClosed)
        assert "unloaded while it worked, by someone" in error.message
        assert use(pool, models["a"]) == "text"
        assert pool.stop(models["a"])


def test_a_pool_that_closes_ends_what_waits_for_it(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    with fake_pool(home, fakes, events, room=size) as pool, ExitStack() as stack:
        busy = stack.enter_context(in_thread(lambda: use(pool, models["a"], "wait")))
        fakes.waiting.acquire()
        told = threading.Event()

        def wait() -> None:
            with pool.acquire(models["b"], SMALL, wait_seconds=600, emit=lambda event: told.set()):
                pass

        waits = stack.enter_context(in_thread(wait))
        assert told.wait(30)
        pool.close()
        stack.close()
        assert isinstance(busy[0], EngineClosed)
        assert isinstance(waits[0], EngineClosed)


def test_a_cancelled_or_failed_load_leaves_nothing(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    cancel = threading.Event()
    cancel.set()
    with fake_pool(home, fakes, events) as pool:
        with pytest.raises(Cancelled), pool.acquire(models["a"], SMALL, cancel=cancel):
            pass
        assert pool.models() == ()
        assert pool._seats.all() == []
        assert use(pool, models["a"]) == "text"
    workers = home.cache / "workers"
    assert [path.name for path in workers.iterdir() if path.suffix in (".json", ".alive")] == []


def test_workers_end_with_a_program_that_is_killed(home: Paths, models: dict[str, str]) -> None:
    command = [sys.executable, "-c", PROGRAM, models["a"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout
        worker = int(program.stdout.readline())
        start = process_start(worker)
        [record] = loaded_models(home)
        assert (record.pid, record.started, record.state) == (worker, start, "busy")
        program.kill()
        program.wait(60)
        assert loaded_models(home) == ()  # dead at once, even while its worker still ends
        wait_for_end(worker, start)


@pytest.mark.slow
def test_killed_at_any_moment(home: Paths, models: dict[str, str]) -> None:
    """Each time one clear line or a reply, the next request works, and nothing is left behind."""
    chance = random.Random(7)
    clock = Clock()
    pids: set[tuple[int, str | None]] = set()

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0

    with ModelPool(Library(home), n_seq_max=2, settings=NEVER, clock=clock) as pool:
        with pool.acquire(models["a"], SMALL) as model:
            expected = say(model, "Once")
        before = files(), threading.active_count()
        for _ in range(40):
            clock.now += 4000
            outcomes: list[object] = []
            with pool.acquire(models["a"], SMALL) as model:
                worker = process_of(model)
                killed = worker.pid, process_start(worker.pid)
                pids.add(killed)
                killer = threading.Timer(chance.random() / 50, os.kill, (killed[0], 9))
                with in_thread(lambda model=model: say(model, "Once")) as outcomes:  # type: ignore[misc]
                    killer.start()
                    try:
                        outcomes.append(say(model, "Once"))
                    except EngineError as error:
                        outcomes.append(error)
                killer.join()
                worker.wait(60)
                for outcome in outcomes:
                    assert outcome == expected or isinstance(outcome, EngineCrashed)
                assert say(model, "Once") == expected
        assert files() <= before[0] + 2
        assert threading.active_count() <= before[1] + 1
    assert all(process_start(number) != start for number, start in pids)
    assert loaded_models(home) == ()
