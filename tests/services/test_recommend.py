"""Methods recommended by rule and by what was measured."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import localq
from localq.cli.main import main
from localq.database import Database
from localq.events import ignore
from localq.formats.types import QuantType
from localq.hardware.profile import HardwareProfile
from localq.library import Library
from localq.paths import Paths
from localq.planning.method_choice import Hardware, Priority, Situation, Use, choose_method
from localq.quality.cards import QualityCard, QualityCards
from localq.quality.results import Estimate, EvaluatedText
from localq.services.fit.fit import FitRequest, fit
from localq.services.machine.plan import planning_profile
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.quality.recommend import RecommendRequest, recommend
from tests.engine.test_engine import DEMO

CPU, GPU, HYBRID = Hardware.CPU, Hardware.GPU, Hardware.HYBRID
PRODUCTION, RESEARCH, PERSONAL = Use.PRODUCTION, Use.RESEARCH, Use.PERSONAL
QUALITY, SPEED, SIZE = Priority.QUALITY, Priority.SPEED, Priority.SIZE
GB = 10**9


@pytest.mark.parametrize(
    ("hardware", "use", "priority", "method", "format_", "library"),
    [
        (CPU, PERSONAL, QUALITY, "GGUF", "Q5_1", "llama.cpp"),
        (CPU, PRODUCTION, SPEED, "GGUF", "Q4_0", "llama.cpp"),
        (CPU, RESEARCH, SIZE, "GGUF", "Q4_0", "llama.cpp"),
        (HYBRID, PERSONAL, QUALITY, "GGUF", "Q4_K_M", "llama.cpp"),
        (HYBRID, PRODUCTION, SPEED, "GGUF", "Q4_K_M", "llama.cpp"),
        (GPU, PRODUCTION, QUALITY, "AWQ", "INT4", "vLLM"),
        (GPU, PRODUCTION, SPEED, "GPTQ", "INT4", "vLLM"),
        (GPU, RESEARCH, SIZE, "GPTQ", "INT4", "transformers"),
        (GPU, PERSONAL, QUALITY, "GGUF", "Q4_K_M", "llama.cpp"),
    ],
)
def test_the_rule(
    hardware: Hardware, use: Use, priority: Priority, method: str, format_: str, library: str
) -> None:
    choice = choose_method(Situation(hardware, use, priority))
    assert (choice.method, choice.format, choice.library) == (method, format_, library)
    assert choice.advantages
    assert choice.reason


def test_what_simply_fits_is_not_quantized_further() -> None:
    """7 billion parameters are 14 GB in 16 bits, and 7.4 GB as Q8_0."""

    def chosen(use: Use, device: int) -> str:
        return choose_method(Situation(GPU, use, QUALITY, 7 * GB, device)).format

    assert chosen(PRODUCTION, 24 * GB) == "F16"
    assert chosen(PRODUCTION, 12 * GB) == "INT4"
    assert chosen(PERSONAL, 12 * GB) == "Q8_0"
    assert chosen(PERSONAL, 8 * GB) == "Q4_K_M"


@pytest.fixture
def bare() -> HardwareProfile:
    """This machine without its devices."""
    return replace(planning_profile(), devices=(), accelerators=())


def made(library: Library, type_: QuantType, ratio: float, error: float) -> None:
    """A file of the demo model, and a card that says how good it was found."""
    request = QuantizeRequest(type_, model="demo/stories260K")
    name = quantize(library, request, ignore, threading.Event()).name
    assert name
    model = library.find(name)
    pair = Estimate(ratio, error)
    card = QualityCard(
        model.name, model.path, model.quant, model.size_bytes, EvaluatedText("t", "a" * 64, 9), 64,
        2, 62, True, Estimate(3.5, 0.1), "the base", Estimate(abs(ratio - 1), 0.01), pair, pair,
        "engine", "machine", 1.0,
    )  # fmt: skip
    QualityCards(Database(library.paths.database)).keep([card])


def test_what_was_measured_outweighs_the_rule(library: Library, bare: HardwareProfile) -> None:
    from localq.services.pull.pull import PullRequest, pull

    pull(library, PullRequest("demo"), ignore, threading.Event())

    def chosen(priority: Priority) -> str | None:
        request = RecommendRequest("demo/stories260K", PERSONAL, priority)
        found = recommend(library, request, threading.Event(), profile=bare)
        assert found.hardware is CPU
        if found.measured is None:
            assert found.command.startswith("localq quantize")
            return None
        assert found.command == f"localq run {found.measured.model}"
        return found.measured.quant

    assert chosen(QUALITY) is None
    made(library, QuantType.Q8_0, 1.001, 0.0005)
    made(library, QuantType.Q4_0, 1.08, 0.01)
    assert chosen(QUALITY) == "Q8_0"
    assert chosen(SIZE) == "Q4_0"
    assert chosen(SPEED) == "Q4_0", "no speed was measured: the fewest bytes"
    seen = fit(library, FitRequest("demo/stories260K"), ignore, threading.Event(), profile=bare)
    assert [card.quant for card in seen.measured] == ["Q8_0", "Q4_0"]
    made(library, QuantType.Q5_1, 1.004, 0.001)
    assert chosen(QUALITY) == "Q5_1", "the smallest of the lossless ones"


def test_the_command_line_and_python(
    home: Paths, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["recommend", "--hardware", "cpu", "--priority", "speed"]) == 0
    printed = capsys.readouterr().out
    assert "Q4_0" in printed
    assert "localq quantize q4_0 MODEL" in printed
    assert main(["recommend", "--hardware", "gpu", "--use", "production", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["choice"]["method"] == "AWQ"
    assert localq.recommend(hardware="hybrid").choice.format == "Q4_K_M"
    with pytest.raises(ValueError, match="fun"):
        localq.recommend(use="fun")
    named = localq.recommend(str(DEMO), hardware="cpu")
    assert named.command.startswith("localq quantize q5_1 ")
