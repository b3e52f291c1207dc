"""`localq bench`: what is measured, printed and kept."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.database import Database
from localq.engine.client import Engine, LoadSettings
from localq.errors import Cancelled, EngineError, UsageError
from localq.events import JobEvent, Progress, ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import TensorType
from localq.hardware.profile import Accelerator, CpuProfile, HardwareProfile, System
from localq.library import Library
from localq.paths import Paths
from localq.planning.measurements import (
    Benchmark,
    Measurements,
    Setting,
    SpeedTest,
    Subject,
    machine_key,
    machine_name,
    shape_key,
)
from localq.planning.model_shape import TensorSpec
from localq.planning.offload_plan import PlanOptions
from localq.services.measure.bench import BenchRequest, bench, bench_history
from tests.engine.test_engine import DEMO, make_gguf

SUBJECT = Subject("llama-1", "Q8_0", "machine", "0.3.36")
RUN = Benchmark(
    measured_at=1000.0,
    model="demo",
    subject=SUBJECT,
    machine_name="a processor, 2 threads",
    setting=Setting(2, 2, 0, 512, 512, 512, "f16", "f16", True),
    load_seconds=0.5,
    first_token_seconds=0.25,
    memory_bytes=5,
    resident_bytes=None,
    tests=(SpeedTest("pp8", (1.0, 2.0), 1.5, 0.7), SpeedTest("tg4", (3.0,), 3.0, 0.0)),
)
PROFILE = HardwareProfile(System("linux"), CpuProfile(2, 2, model="a processor"))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("bench"))


def request_of(gguf: Path, **changes: object) -> BenchRequest:
    plan_options = PlanOptions(n_threads=1)
    request = BenchRequest(
        str(gguf), n_prompt=32, n_generate=8, repetitions=3, plan_options=plan_options
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def test_what_is_measured(gguf: Path, home: Paths) -> None:
    events: list[JobEvent] = []
    library = Library(home)
    run = bench(library, request_of(gguf), events.append, threading.Event())
    prompt, generation = run.tests
    assert (prompt.name, generation.name) == ("pp32", "tg8")
    assert len(prompt.samples) == len(generation.samples) == 3
    assert min(prompt.samples) <= prompt.mean <= max(prompt.samples)
    assert prompt.stddev > 0 < generation.stddev
    assert run.load_seconds > 0 < run.first_token_seconds
    assert run.memory_bytes > gguf.stat().st_size / 2
    assert (run.setting.n_threads, run.setting.n_threads_batch) == (1, 1)
    assert run.subject.quant == "Q8_0"
    done = [event for event in events if isinstance(event, Progress)]
    assert done[-1].done == done[-1].total == 32 * 4 + 8 * 3
    assert bench_history(library, str(gguf)) == (run,)


def test_tests_of_no_tokens_are_left_out(gguf: Path, home: Paths) -> None:
    library = Library(home)
    none = threading.Event()
    run = bench(library, request_of(gguf, n_prompt=0, repetitions=1), ignore, none)
    assert [(test.name, test.stddev) for test in run.tests] == [("tg8", 0.0)]
    run = bench(library, request_of(gguf, n_generate=0, repetitions=1), ignore, none)
    assert [test.name for test in run.tests] == ["pp32"]
    assert len(bench_history(library, str(gguf))) == 2


def test_a_benchmark_can_be_stopped(gguf: Path, home: Paths) -> None:
    library = Library(home)
    cancel = threading.Event()

    def stop(event: JobEvent) -> None:
        if isinstance(event, Progress):
            cancel.set()

    with pytest.raises(Cancelled):
        bench(library, request_of(gguf), stop, cancel)
    assert bench_history(library, str(gguf)) == ()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_prompt": -1}, "prompt of -1"),
        ({"n_generate": 1 << 21}, "generation of 2097152"),
        ({"n_prompt": 0, "n_generate": 0}, "nothing to measure"),
        ({"repetitions": 0}, "0 repetitions"),
    ],
)
def test_requests_that_make_no_sense(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BenchRequest(**wrong)  # type: ignore[arg-type]


def test_the_engine_measures_with_the_threads_it_is_told(gguf: Path) -> None:
    cancel = threading.Event()
    with Engine() as engine:
        engine.load(LoadSettings(gguf, n_threads=1, n_ctx=128))
        measured = engine.measure(40, 5, n_threads=2, n_threads_batch=2)
        assert measured.prompt_seconds > 0
        assert len(measured.token_seconds) == 5
        assert min(measured.token_seconds) > 0
        assert engine.measure(0, 1).prompt_seconds == 0
        with pytest.raises(EngineError, match="129 tokens"):
            engine.measure(129, 0)
        with pytest.raises(UsageError, match="n_threads is 0"):
            engine.measure(1, 0, n_threads=0)
        cancel.set()
        with pytest.raises(Cancelled):
            engine.measure(128, 128, cancel=cancel)


def test_the_command(gguf: Path, home: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", str(gguf), "-p", "16", "-n", "4", "-r", "2", "--threads", "1"]
    assert main(["bench", str(gguf), "--history"]) == 0
    assert "nothing was measured yet" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [test["name"] for test in document["tests"]] == ["pp16", "tg4"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "generating with 1" in shown
    for words in ("pp16 ", "tg4 ", "±", "first token", "resident", "% now)"):
        assert words in shown
    assert main(["bench", str(gguf), "--history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "pp16" in lines[1]
    assert main(["bench", str(gguf), "--history", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main([*command, "-r", "0"]) == 2


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    store = Measurements(Database(tmp_path / "db"))
    assert store.history("llama-1", "Q8_0") == ()
    store.add(RUN)
    later = replace(RUN, measured_at=2000.0, resident_bytes=7)
    store.add(later)
    store.add(replace(RUN, subject=replace(SUBJECT, quant="Q4_0")))
    assert store.history("llama-1", "Q8_0") == (later, RUN)
    assert store.history("other", "Q8_0") == ()


@pytest.mark.parametrize(
    "edit",
    ["tests = '['", "tests = '5'", "tests = '[{}]'", "setting = '{}'", "setting = 'no'"],
)
def test_rows_that_somebody_edited_are_left_out(edit: str, tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    store = Measurements(database)
    store.add(RUN)
    with database.write() as connection:
        connection.execute(f"UPDATE benchmarks SET {edit}")
    assert store.history("llama-1", "Q8_0") == ()
    store.add(RUN)
    assert store.history("llama-1", "Q8_0") == (RUN,)


def test_the_oldest_runs_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localq.planning.measurements._KEPT", 3)
    store = Measurements(Database(tmp_path / "db"))
    for number in range(5):
        store.add(replace(RUN, measured_at=float(number)))
    assert [run.measured_at for run in store.history("llama-1", "Q8_0")] == [4.0, 3.0, 2.0]


def test_what_tells_models_apart(gguf: Path) -> None:
    file = read_gguf(gguf)
    key = shape_key(file.architecture, file.tensors)
    assert key.startswith("llama-")
    requantized = [TensorSpec(t.name, TensorType.F32, t.shape) for t in file.tensors]
    assert shape_key(file.architecture, requantized[::-1]) == key
    wider = [TensorSpec(t.name, TensorType.F32, (*t.shape[:-1], 7)) for t in file.tensors]
    assert shape_key(file.architecture, wider) != key
    assert shape_key("qwen2", file.tensors) != key


def test_what_tells_machines_apart() -> None:
    card = Accelerator("a card", "NVIDIA", "test", total_bytes=5)
    others = [
        replace(PROFILE, cpu=replace(PROFILE.cpu, model="another")),
        replace(PROFILE, cpu=replace(PROFILE.cpu, threads=3)),
        replace(PROFILE, cpu=replace(PROFILE.cpu, quota_cpus=1.5)),
        replace(PROFILE, accelerators=(card,)),
    ]
    keys = {machine_key(profile) for profile in (PROFILE, *others)}
    assert len(keys) == 5
    assert machine_key(replace(PROFILE, notes=())) in keys
    assert machine_name(others[-1]) == "a processor, a card, 2 threads"
    assert machine_name(HardwareProfile(System("?"), CpuProfile(1, 1))).startswith("unknown")
