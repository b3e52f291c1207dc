"""Several models in one budget: who stays, with a fake engine; and with the real one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from localq.engine.client import Engine, Generation, LoadedModel, LoadSettings
from localq.engine.protocol import Pictures, TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.errors import (
    Cancelled,
    EngineClosed,
    EngineCrashed,
    EngineError,
    NotFoundError,
    UnsupportedError,
)
from localq.events import JobEvent, Note, Started
from localq.hardware.processes import process_start
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.hosted import HostedModel
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.prepared import prepare_model
from localq.services.hosting.settings import HostingSettings
from localq.services.hosting.stop import loaded_models
from localq.services.library.locate import locate_gguf
from localq.services.machine.plan import save_plan_options
from tests.engine.test_engine import DEMO, make_gguf

GREEDY = SamplingParams(max_tokens=4, temperature=0.0)
SMALL = PlanOptions(n_ctx=128, n_threads=1)
NEVER = HostingSettings(idle_seconds=None)


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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of three models that are alike."""
    folder = tmp_path_factory.mktemp("models")
    first = make_gguf(DEMO, folder)
    found = {}
    for name in "abc":
        path = folder / f"{name}.gguf"
        path.write_bytes(first.read_bytes())
        found[name] = str(path)
    return found


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def events() -> list[JobEvent]:
    return []


@pytest.fixture
def size(home: Paths, models: dict[str, str]) -> int:
    """What one of the models takes."""
    return sum(prepare_model(Library(home), models["a"], SMALL).footprint.values())


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


def test_the_least_recently_used_gives_way(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    with fake_pool(home, fakes, events, room=2 * size) as pool:
        for name in "abab":
            assert use(pool, models[name]) == "text"
        assert fakes.loads == ["a", "b"]
        use(pool, models["a"])
        use(pool, models["c"])
        assert loaded(pool) == {"a", "c"}
        assert [engine.state for engine in fakes.engines] == ["loaded", "closed", "loaded"]
        pool.pin(models["a"])
        use(pool, models["b"])
        assert loaded(pool) == {"a", "b"}
        pool.pin(models["a"], pinned=False)
    assert {engine.state for engine in fakes.engines} == {"closed"}


def test_busy_ones_stay_and_others_wait(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    with fake_pool(home, fakes, events, room=size) as pool:
        with in_thread(lambda: use(pool, models["a"], "wait")) as first:
            fakes.waiting.acquire()
            with pytest.raises(EngineError, match=r"does not fit beside .*a\.gguf \(busy, test\)"):
                use(pool, models["b"])
            [a] = pool.models()
            assert (a.state, a.running, a.waiting) == ("busy", 1, 0)
            with in_thread(lambda: use(pool, models["b"], wait_seconds=60)) as second:
                fakes.engines[0].released.set()
        assert (first, second) == (["text"], ["text"])
        assert loaded(pool) == {"b"}


def test_who_waits_is_not_overtaken_for_ever(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    told = threading.Event()

    def wait_for_b() -> str:
        with pool.acquire(
            models["b"], SMALL, wait_seconds=60, emit=lambda event: told.set()
        ) as model:
            order.append("b")
            return say(model)

    def come_later() -> str:
        with pool.acquire(models["a"], SMALL, wait_seconds=60) as model:
            order.append("a")
            return say(model)

    order: list[str] = []
    with fake_pool(home, fakes, events, room=size) as pool, ExitStack() as stack:
        first = stack.enter_context(in_thread(lambda: use(pool, models["a"], "wait")))
        fakes.waiting.acquire()
        waits = stack.enter_context(in_thread(wait_for_b))
        assert told.wait(30)
        later = stack.enter_context(in_thread(come_later))
        impatient = use(pool, models["a"])  # who may not wait is answered while it is there
        fakes.engines[0].released.set()
        stack.close()
    assert (first, waits, later, impatient) == (["text"], ["text"], ["text"], "text")
    assert order == ["b", "a"]


def test_what_is_saved_for_a_model_is_heard(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    library = Library(home)
    with fake_pool(home, fakes, events) as pool:
        with pool.acquire(models["a"]) as model:
            assert model.loaded.n_ctx == 512
        found = locate_gguf(library, models["a"])
        save_plan_options(library, found, PlanOptions(n_ctx=256))
        with pool.acquire(models["a"]) as model:
            assert model.loaded.n_ctx == 256


def test_what_never_fits_is_refused_with_the_reason(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    with fake_pool(home, fakes, events, room=size // 2) as pool:
        with pytest.raises(EngineError, match="cannot run here"):
            use(pool, models["a"])
        with pool.acquire(models["a"], SMALL, force=True) as model:
            assert say(model) == "text"


def test_who_rests_gives_way_and_is_loaded_again(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    with fake_pool(home, fakes, events, room=size) as pool:
        heard: list[JobEvent] = []
        with pool.open(pool.prepare(models["a"], SMALL), emit=heard.append) as talk:
            use(pool, models["b"])
            assert loaded(pool) == {"b"}
            assert say(talk) == "text"
            assert loaded(pool) == {"a"}
            assert not talk.revive()
            assert len([event for event in heard if isinstance(event, Started)]) == 2
            assert any("b.gguf was unloaded to make room" in text for text in notes(heard))
        with pytest.raises(EngineError, match="no model is loaded"):
            say(talk)
        assert not talk.revive()


def test_idle_models_are_unloaded(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    clock = Clock()
    with fake_pool(home, fakes, events, idle=60, clock=clock) as pool:
        use(pool, models["a"])
        use(pool, models["b"])
        pool.keep(models["b"], None)
        gone = threading.Event()
        pool._seats._emit = lambda event: gone.set()
        clock.now += 59
        with pool.acquire(models["a"], SMALL):
            clock.now += 61  # in use all the while
        assert loaded(pool) == {"a", "b"}
        clock.now += 61
        assert gone.wait(30)
        assert loaded(pool) == {"b"}


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


def test_two_programs_share_one_budget(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent], size: int
) -> None:
    theirs, heard = Fakes(), list[JobEvent]()
    with (
        fake_pool(home, fakes, events, room=size, owner="run") as ours,
        fake_pool(home, theirs, heard, room=size, owner="serve") as other,
    ):
        use(other, models["a"])
        use(ours, models["b"])  # the other's rests, and gives way
        assert (loaded(ours), loaded(other)) == ({"b"}, set())
        assert any("a.gguf was unloaded by localq run" in text for text in notes(heard))
        with in_thread(lambda: use(ours, models["b"], "wait")):
            fakes.waiting.acquire()
            with pytest.raises(EngineError, match=r"b\.gguf \(busy, run\)"):
                use(other, models["a"])
            fakes.engines[0].released.set()


def test_one_that_writes_text_gives_vectors_too(
    home: Paths, models: dict[str, str], fakes: Fakes, events: list[JobEvent]
) -> None:
    with fake_pool(home, fakes, events) as pool:
        use(pool, models["a"])
        with pool.acquire(models["a"], SMALL, purpose="vectors") as model:
            assert model.status.state == "busy"
        with pool.acquire(models["b"], SMALL, purpose="vectors"):
            use(pool, models["b"])  # but not the other way round
    assert fakes.loads == ["a", "b", "b"]


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


def test_a_home_that_cannot_be_written_keeps_nobody_from_talking(
    home: Paths, models: dict[str, str], fakes: Fakes, size: int
) -> None:
    home.cache.mkdir(parents=True)
    (home.cache / "workers").write_text("not a folder")
    heard: list[JobEvent] = []
    with fake_pool(home, fakes, heard, room=size) as pool:
        with pool.acquire(models["a"], SMALL, emit=heard.append) as model:
            assert say(model) == "text"
        assert any("nothing is kept of this run" in text for text in notes(heard))
        use(pool, models["b"])  # its own budget holds all the same
        assert loaded(pool) == {"b"}


def test_what_cannot_be_told_loads_only_by_force(
    home: Paths, models: dict[str, str], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedError("of a kind that is not known")

    monkeypatch.setattr("localq.services.hosting.prepared.plan_gguf", refuse)
    with pytest.raises(UnsupportedError, match="not known") as caught:
        prepare_model(Library(home), models["a"])
    assert caught.value.hint == "--force lets the engine try"
    forced = prepare_model(Library(home), models["a"], PlanOptions(n_ctx=64), force=True)
    assert forced.plan is None
    with fake_pool(home, fakes, []) as pool, pool.open(forced) as hosted:
        assert hosted.loaded.n_ctx == 64


def process_of(hosted: HostedModel) -> subprocess.Popen[bytes]:
    life = hosted._seat.life
    assert life is not None
    assert life.engine._worker is not None
    return life.engine._worker.process


def pid(hosted: HostedModel) -> int:
    return process_of(hosted).pid


def test_real_engines(home: Paths, models: dict[str, str]) -> None:
    events: list[JobEvent] = []
    with ModelPool(Library(home), n_seq_max=2, settings=NEVER) as pool:
        with pool.open(pool.prepare(models["a"], SMALL), emit=events.append) as first:
            alone = say(first, "Once upon a time")
            with pool.open(pool.prepare(models["a"], SMALL)) as second:
                assert pid(first) == pid(second)
                with in_thread(lambda: say(second, "Once upon a time")) as outcome:
                    assert say(first, "Once upon a time") == alone
                assert outcome == [alone]
            other = PlanOptions(n_ctx=64, n_threads=1)
            with pool.open(pool.prepare(models["a"], other)) as own:
                assert pid(own) != pid(first)
                assert (own.loaded.n_ctx, first.loaded.n_ctx) == (64, 128)
            assert [event for event in events if isinstance(event, Started)] == [
                Started(f"loading {models['a']}")
            ]
            worker = process_of(first)
            worker.kill()
            worker.wait(60)
            assert say(first, "Once upon a time") == alone  # killed while it rested: nobody's fault
            last = pid(first)
        assert len(pool.models()) == 2
    with pytest.raises(OSError):  # noqa: PT011
        os.kill(last, 0)


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


def wait_for_end(number: int, start: str | None) -> None:
    deadline = time.monotonic() + 60
    while process_start(number) == start:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_budget_holds(
    home: Paths, models: dict[str, str], size: int, seed: int
) -> None:
    """Six threads use, crash, stop and pin three models where two have room."""
    fakes, events = Fakes(), list[JobEvent]()
    most = 0

    def count(engine: FakeEngine) -> None:
        nonlocal most
        most = max(most, 1 + sum(other.is_alive for other in fakes.engines))

    fakes.on_load = count
    outcomes: list[str] = []
    clock = Clock()

    def work(number: int) -> None:
        chance = random.Random(100 * seed + number)
        for _ in range(25):
            path = models[chance.choice("abc")]
            clock.now += chance.choice((0, 0, 4000))
            try:
                match chance.randrange(8):
                    case 0:
                        use(pool, path, "crash", wait_seconds=60)
                    case 1:
                        pool.stop(path, force=chance.random() < 0.5)
                    case 2:
                        pool.keep(path, chance.choice((None, 0.0, 5.0)))
                    case 3:
                        with pool.open(pool.prepare(path, SMALL), wait_seconds=60) as model:
                            outcomes.append(say(model))
                            outcomes.append(say(model))
                    case _:
                        outcomes.append(use(pool, path, wait_seconds=60))
            except (EngineError, NotFoundError):
                continue

    with fake_pool(home, fakes, events, room=2 * size, idle=60, clock=clock) as pool:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
        assert most <= 2
        assert len(outcomes) > 30
        seats = pool._seats.all()
    for seat in seats:
        assert (seat.users, seat.queued, seat.holders, seat.life) == (0, 0, 0, None)
        assert not seat.lock.locked()
        assert not seat.one_by_one.locked()
    assert not any(engine.is_alive for engine in fakes.engines)
    assert loaded_models(home) == ()


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
