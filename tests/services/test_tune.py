"""`localq tune`: what it decides, how long it takes, what it keeps."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.cli.main import main
from localq.database import Database
from localq.engine.client import Engine
from localq.engine.protocol import Measured
from localq.errors import Cancelled, StorageError, UsageError
from localq.events import JobEvent, Note, Progress, ignore
from localq.formats.gguf import read_gguf
from localq.hardware.profile import CpuProfile, HardwareProfile, System
from localq.library import Library
from localq.paths import Paths
from localq.planning.measurements import Measurements, Subject, Tuning, TuningPoint
from localq.planning.offload_plan import Tuned
from localq.planning.tuner import Contest, thread_candidates, ubatch_candidates
from localq.services.machine.measured_model import best_tuning, subject_of, tuned_for
from localq.services.measure.tune import TuneRequest, tune
from tests.engine.test_engine import DEMO, make_gguf

SUBJECT = Subject("llama-1", "Q8_0", "machine", "0.3.36")
TUNING = Tuning(1000.0, 3, 4, None, 0, (TuningPoint("n_threads", 3, 12.5),))
PROFILE = HardwareProfile(System("linux"), CpuProfile(2, 2, model="a processor", logical_cores=2))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("tune"))


@dataclass
class Clock:
    """The engine measures truly, but by this clock each measurement takes so many seconds, and
    nothing else takes any."""

    seconds: float = 0.25
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, measure = Clock(), Engine.measure

    def timed(*args: Any, **options: Any) -> Measured:
        clock.now += clock.seconds
        return measure(*args, **options)

    monkeypatch.setattr(Engine, "measure", timed)
    assert tune.__kwdefaults__
    monkeypatch.setitem(tune.__kwdefaults__, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run beside others; nothing is kept from a busy machine."""
    monkeypatch.setattr("localq.services.measure.tune._others", lambda: 0.0)


def decide(contest: Contest, costs: dict[int, float], noise: float, seed: int = 0) -> int:
    """How many measurements it took."""
    choose = random.Random(seed)
    count = 0
    while (candidate := contest.next) is not None:
        contest.record(candidate, costs[candidate] * choose.lognormvariate(0, noise))
        count += 1
    return count


def test_a_clear_answer_takes_few_measurements() -> None:
    contest = Contest([8, 4, 2, 1], 8)
    assert decide(contest, {8: 1.0, 4: 2.1, 2: 4.0, 1: 8.0}, 0) == 4
    assert contest.best == 8
    contest = Contest([8, 4, 2, 1], 8)
    assert decide(contest, {8: 9.0, 4: 1.5, 2: 1.0, 1: 3.0}, 0.01) <= 8
    assert contest.best == 2


def test_the_planned_one_wins_where_another_is_as_good() -> None:
    for planned in (4, 6, 8):
        contest = Contest([4, 6, 8], planned)
        assert decide(contest, {4: 1.0, 6: 1.01, 8: 1.005}, 0) == 15
        assert contest.best == planned
    assert Contest([4, 6], 6).best == 6


def test_the_best_is_found_in_noise() -> None:
    for seed in range(20):
        contest = Contest([8, 6, 4, 2], 8)
        decide(contest, {8: 1.4, 6: 1.15, 4: 1.0, 2: 1.5}, 0.05, seed)
        assert contest.best == 4


def test_a_phase_of_load_hits_all_alike() -> None:
    contest = Contest([2, 1], 2)
    count = 0
    while (candidate := contest.next) is not None:
        slow = 5 if count // 2 == 1 else 1  # the whole second round
        contest.record(candidate, slow * (1.0 if candidate == 1 else 1.1))
        count += 1
    assert contest.best == 1


def test_what_cannot_be_had_loses() -> None:
    contest = Contest([9, 8, 7], 9)
    assert decide(contest, {9: float("inf"), 8: 1.0, 7: 3.0}, 0) == 3
    assert contest.best == 8
    with pytest.raises(ValueError, match="5 is not among"):
        Contest([1, 2], 5)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=8, unique=True),
    st.integers(1, 6),
    st.data(),
)
def test_every_contest_ends(candidates: list[int], rounds: int, data: st.DataObject) -> None:
    contest = Contest(candidates, candidates[0], rounds=rounds)
    cost = st.one_of(st.floats(1e-9, 1e9), st.just(float("inf")))
    count = 0
    while (candidate := contest.next) is not None:
        assert candidate in candidates
        contest.record(candidate, data.draw(cost))
        count += 1
        assert contest.best in candidates
    assert count <= len(candidates) * rounds
    assert (len(contest.costs) == len(candidates)) == (count > 0)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (CpuProfile(1, 1), (1,)),
        (CpuProfile(2, 2, logical_cores=2), (2, 1)),
        (CpuProfile(6, 6, logical_cores=16, allowed_cpus=16), (16, 15, 12, 8, 6, 4, 1)),
        (CpuProfile(8, 16, logical_cores=32, quota_cpus=4.5), (16, 15, 12, 8, 4, 1)),
        (CpuProfile(1, 1, logical_cores=64, quota_cpus=0.5), (1,)),
    ],
)
def test_numbers_of_threads_to_try(cpu: CpuProfile, expected: tuple[int, ...]) -> None:
    assert thread_candidates(cpu) == expected
    assert cpu.threads in expected
    assert cpu.threads_batch in expected


def test_sizes_of_batches_to_try() -> None:
    assert ubatch_candidates(5000) == (1024, 512, 256, 128)
    assert ubatch_candidates(300) == (256, 128)
    assert ubatch_candidates(5) == ()


def test_a_tuning(gguf: Path, home: Paths, clock: Clock) -> None:
    clock.seconds = 0.1
    library = Library(home)
    file = read_gguf(gguf)
    events: list[JobEvent] = []
    assert tuned_for(home, file, PROFILE) is None
    result = tune(
        library,
        TuneRequest(str(gguf), budget=4.0),
        events.append,
        threading.Event(),
        profile=PROFILE,
    )
    assert result.seconds <= 4.0
    tuning = result.tuning
    assert tuning.n_threads in (1, 2)
    assert tuning.n_threads_batch in (1, 2)
    assert tuning.n_gpu_layers == 0
    for setting in ("n_threads", "n_threads_batch"):
        assert [point.value for point in tuning.points if point.setting == setting] == [1, 2]
    assert all(point.speed > 0 for point in tuning.points)
    assert any(isinstance(event, Progress) for event in events)
    assert best_tuning(home, file, PROFILE) == tuning
    tuned = tuned_for(home, file, PROFILE)
    assert tuned
    assert (tuned.n_threads, tuned.n_ubatch) == (tuning.n_threads, tuning.n_ubatch)
    other = replace(PROFILE, cpu=replace(PROFILE.cpu, model="another"))
    assert tuned_for(home, file, other) is None


def test_an_earlier_tuning_is_no_beginning(gguf: Path, home: Paths) -> None:
    file = read_gguf(gguf)
    store = Measurements(Database(home.database))
    store.keep(subject_of(file, PROFILE), replace(TUNING, n_threads=1, n_ubatch=128))
    request = TuneRequest(str(gguf), budget=2.0)
    result = tune(Library(home), request, ignore, threading.Event(), profile=PROFILE)
    assert (result.planned.n_threads, result.planned.n_ubatch) == (2, 512)
    assert best_tuning(home, file, PROFILE) == result.tuning


def test_a_tuning_can_be_stopped(gguf: Path, home: Paths) -> None:
    cancel = threading.Event()

    def stop(event: JobEvent) -> None:
        if isinstance(event, Progress):
            cancel.set()

    with pytest.raises(Cancelled):
        tune(Library(home), TuneRequest(str(gguf)), stop, cancel, profile=PROFILE)
    assert best_tuning(home, read_gguf(gguf), PROFILE) is None


@pytest.mark.parametrize("planned", [1, 2])
def test_a_tuning_that_has_no_time_keeps_to_the_plan(
    gguf: Path, home: Paths, clock: Clock, planned: int
) -> None:
    clock.seconds = 1.0
    cpu = replace(PROFILE.cpu, threads=planned, threads_batch=planned)
    result = tune(
        Library(home), TuneRequest(str(gguf), budget=1.0), ignore, threading.Event(),
        profile=replace(PROFILE, cpu=cpu),
    )  # fmt: skip
    tuning = result.tuning
    assert (tuning.n_threads, tuning.n_threads_batch, tuning.n_ubatch) == (planned, planned, None)
    assert tuning.points == ()


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.5, 2.5, 5.0, 30.0])
def test_the_budget_is_overrun_by_at_most_one_measurement(
    gguf: Path, home: Paths, clock: Clock, seconds: float
) -> None:
    clock.seconds = seconds
    request = TuneRequest(str(gguf), budget=4.0)
    result = tune(Library(home), request, ignore, threading.Event(), profile=PROFILE)
    assert 0 < result.seconds < 4.0 + seconds


@pytest.mark.parametrize("budget", [0.5, 4000.0, float("nan")])
def test_budgets_that_make_no_sense(budget: float) -> None:
    with pytest.raises(UsageError, match="a budget of"):
        TuneRequest(budget=budget)


def test_the_command(gguf: Path, home: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(gguf), "--budget", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tuning"]["n_threads"] >= 1
    assert main(["tune", str(gguf), "--budget", "2"]) == 0
    shown = capsys.readouterr().out
    assert "kept: " in shown
    if len([p for p in document["tuning"]["points"] if p["setting"] == "n_threads"]) > 1:
        assert "generation, tokens/s by threads" in shown
        assert "█" in shown
        assert "◀" in shown
    assert main(["tune", str(gguf), "--budget", "0"]) == 2


def test_tunings_are_kept_apart(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    store = Measurements(database)
    assert store.tuning(SUBJECT) is None
    store.keep(SUBJECT, TUNING)
    store.keep(replace(SUBJECT, quant="Q4_0"), replace(TUNING, n_threads=1))
    assert store.tuning(SUBJECT) == TUNING
    store.keep(SUBJECT, replace(TUNING, n_threads=2))
    found = store.tuning(SUBJECT)
    assert found
    assert found.n_threads == 2
    assert store.tuning(replace(SUBJECT, engine="0.3.37")) is None
    with database.write() as connection:
        connection.execute("UPDATE tunings SET points = 'no'")
    assert store.tuning(SUBJECT) == replace(TUNING, n_threads=2, points=())


def test_a_batch_larger_than_usual_comes_with_room_for_it(gguf: Path, home: Paths) -> None:
    file = read_gguf(gguf)
    store = Measurements(Database(home.database))
    store.keep(subject_of(file, PROFILE), replace(TUNING, n_ubatch=1024))
    assert tuned_for(home, file, PROFILE) == Tuned(3, 4, 1024, 1024)
    store.keep(subject_of(file, PROFILE), replace(TUNING, n_ubatch=128))
    assert tuned_for(home, file, PROFILE) == Tuned(3, 4, 512, 128)
    layers = tuple(TuningPoint("n_gpu_layers", n, 10.0 + n) for n in (4, 5))
    store.keep(subject_of(file, PROFILE), replace(TUNING, n_gpu_layers=5, points=layers))
    assert tuned_for(home, file, PROFILE) == Tuned(3, 4, None, None, 5)


def test_nothing_is_kept_from_a_busy_machine(
    gguf: Path, home: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("localq.services.measure.tune._others", lambda: 3.0)
    said: list[JobEvent] = []
    request = TuneRequest(str(gguf), budget=1.0)
    result = tune(Library(home), request, said.append, threading.Event(), profile=PROFILE)
    assert result.not_kept
    assert any(isinstance(event, Note) and "3.0 processors busy" in event.text for event in said)
    assert tuned_for(home, read_gguf(gguf), PROFILE) is None
    forced = replace(request, force=True)
    assert not tune(Library(home), forced, ignore, threading.Event(), profile=PROFILE).not_kept
    assert tuned_for(home, read_gguf(gguf), PROFILE)
    assert main(["tune", str(gguf), "--budget", "1"]) == 0
    shown = capsys.readouterr()
    assert "found: " in shown.out
    assert "kept: " not in shown.out
    assert "not kept: other programs were busy" in shown.err


def test_a_result_that_cannot_be_kept_is_shown(
    gguf: Path, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Measurements, "keep", full)
    request = TuneRequest(str(gguf), budget=1.0)
    result = tune(Library(home), request, ignore, threading.Event(), profile=PROFILE)
    assert result.not_kept == "the disk is full"
