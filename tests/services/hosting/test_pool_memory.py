"""Several models in one budget: who stays, who waits, who goes."""

from __future__ import annotations

import os
import random
import threading
from contextlib import ExitStack

import pytest

from localq.errors import (
    EngineError,
    NotFoundError,
    UnsupportedError,
)
from localq.events import JobEvent, Started
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.prepared import prepare_model
from localq.services.hosting.stop import loaded_models
from localq.services.library.locate import locate_gguf
from localq.services.machine.plan import save_plan_options
from tests.services.hosting.fake_pool import (
    NEVER,
    SMALL,
    Clock,
    FakeEngine,
    Fakes,
    fake_pool,
    in_thread,
    loaded,
    notes,
    pid,
    process_of,
    say,
    use,
)


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
