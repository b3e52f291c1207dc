"""What to do about a model that disappoints."""

from __future__ import annotations

import json
import threading

import pytest

from localq.cli.main import main
from localq.database import Database
from localq.events import ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType
from localq.library import Library, Model
from localq.planning.measurements import Benchmark, Measurements, Setting, SpeedTest
from localq.quality.cards import QualityCard, QualityCards
from localq.quality.results import Estimate, EvaluatedText
from localq.services.machine.measured_model import subject_of
from localq.services.machine.plan import planning_profile
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.pull import PullRequest, pull
from localq.services.quality.advise import advise

Q4 = "demo/stories260K:Q4_0"
F16 = "demo/stories260K:F16"


@pytest.fixture
def two(library: Library) -> tuple[Model, Model]:
    """The demo model as Q4_0 and F16."""
    pull(library, PullRequest("demo"), ignore, threading.Event())
    for type_ in (QuantType.Q4_0, QuantType.F16):
        request = QuantizeRequest(type_, model="demo/stories260K")
        quantize(library, request, ignore, threading.Event())
    return library.find(Q4), library.find(F16)


def commands(library: Library, name: str = Q4) -> list[str]:
    return [one.command for one in advise(library, name, threading.Event())]


def write_speed(library: Library, model: Model, speed: float) -> None:
    setting = Setting(1, 1, 0, 64, 64, 64, "f16", "f16", False)
    subject = subject_of(read_gguf(model.path), planning_profile())
    test = SpeedTest("tg8", (speed,), speed, 0.0)
    run = Benchmark(1.0, model.name, subject, "here", setting, 1.0, 1.0, 5, None, (test,))
    Measurements(Database(library.paths.database)).add(run)


def card(model: Model, ratio: float, error: float) -> QualityCard:
    pair = Estimate(ratio, error)
    return QualityCard(
        model.name, model.path, model.quant, model.size_bytes, EvaluatedText("t", "a" * 64, 9), 64,
        2, 62, True, Estimate(3.5, 0.1), F16, Estimate(0.02, 0.01), pair, pair, "engine",
        "machine", 1.0,
    )  # fmt: skip


def test_what_was_not_measured_is_to_be_measured(
    library: Library, two: tuple[Model, Model]
) -> None:
    assert commands(library)[:2] == [f"localq eval {Q4} --against {F16}", f"localq bench {Q4}"]
    write_speed(library, two[0], 100)
    assert commands(library)[1] == f"localq bench {F16}"


def test_measurements_lead_to_different_advice(library: Library, two: tuple[Model, Model]) -> None:
    quantized, original = two
    store = QualityCards(Database(library.paths.database))
    store.keep([card(quantized, 1.09, 0.01)])
    assert commands(library)[0] == "localq quantize q5_1 demo/stories260K"
    store.keep([card(quantized, 1.001, 0.001)])
    worse = advise(library, Q4, threading.Event())[0]
    assert worse.command == f"localq show {Q4}"
    assert "quantizing is not the cause" in worse.found
    store.keep([card(quantized, 0.97, 0.003)])
    assert "quantizing is not the cause" in advise(library, Q4, threading.Event())[0].found
    assert commands(library)[2] == f"localq plan {Q4} --kv q8_0 --save"  # it is a Q4_0 already
    write_speed(library, original, 100)
    write_speed(library, quantized, 101)
    slow = advise(library, Q4, threading.Event())[1]
    assert "1.01 times as fast" in slow.found
    assert slow.command == f"localq tune {Q4}"
    write_speed(library, quantized, 200)
    assert commands(library)[1] == f"localq compare {Q4} {F16}"
    assert commands(library, F16)[2] == "localq quantize q4_0 demo/stories260K"


def test_the_command_line(
    library: Library, two: tuple[Model, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["advise", Q4]) == 0
    printed = capsys.readouterr().out
    assert printed.count("looked at") == printed.count("  do ") == 3
    assert main(["advise", Q4, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert main(["advise", "nothing-of-that-name"]) == 1
