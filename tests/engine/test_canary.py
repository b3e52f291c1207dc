"""The engine is tried before it is trusted: engines that work, crash, hang and lie."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from localq.cli.main import main
from localq.engine import Engine, LoadSettings
from localq.engine.canary import LOGITS, MODEL, TOKENS
from localq.engine.canary.check import BOUND, Answer, Try, run_probe, try_modes
from localq.engine.canary.identity import engine_files, processor
from localq.engine.canary.probe import deviation
from localq.engine.canary.verdict import EngineVerdict, engine_verdict, proven_mode
from localq.engine.mode import MODE_VARIABLE, EngineMode
from localq.errors import EngineError, UsageError
from localq.paths import Paths
from tests.reference.make_canary import logits, weights

PATIENCE = 120.0

# llama.cpp's bindings, behaving as BEHAVIOUR says; where it says so, only with repacked weights.
_STAND_IN = """
import ctypes, os, signal, sys, time
REAL = {real!r}
__file__ = os.path.join(REAL, "llama_cpp.py")
sys.modules["llama_cpp"].__path__.append(REAL)
with open(__file__) as file:
    exec(compile(file.read(), __file__, "exec"))
behaviour, _, when = {behaviour!r}.partition(" ")
broken = [True]
right_load, right_decode, right_logits = (
    llama_model_load_from_file, llama_decode, llama_get_logits_ith)
def llama_model_load_from_file(path, params):
    broken[0] = params.use_extra_bufts or when != "repacked"
    return right_load(path, params)
def llama_decode(context, batch):
    if broken[0] and behaviour == "hang":
        time.sleep(600)
    if broken[0] and behaviour.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, behaviour))
    return right_decode(context, batch)
def llama_get_logits_ith(context, index):
    row = right_logits(context, index)
    if broken[0] and behaviour == "lie":
        for column in range(256):
            row[column] = row[255 - column]
    if broken[0] and behaviour == "nan":
        row[7] = float("nan")
    return row
"""


@pytest.fixture
def unchosen(home: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A home where nothing is known of the engine."""
    monkeypatch.delenv(MODE_VARIABLE, raising=False)
    return home


@pytest.fixture
def stand_in(
    unchosen: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Paths]:
    """Puts an engine in place of the installed one, for this process and those it starts. It has
    no variants to try, whatever the installed one has."""
    monkeypatch.setattr("localq.engine.canary.check._variants", lambda probe, seconds: ())
    spec = find_spec("llama_cpp")
    assert spec
    assert spec.submodule_search_locations
    real = spec.submodule_search_locations[0]

    def place(behaviour: str) -> Paths:
        package = tmp_path / "stand_in" / "llama_cpp"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        text = _STAND_IN.format(real=real, behaviour=behaviour)
        (package / "llama_cpp.py").write_text(text)
        monkeypatch.syspath_prepend(str(package.parent))
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        return unchosen

    return place


def patient(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
    return run_probe(mode, arguments, PATIENCE)


def never(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
    raise AssertionError("the engine is tried again")


def verdict_of(home: Paths, **options: object) -> EngineVerdict:
    verdict = engine_verdict(home.cache, try_seconds=PATIENCE, **options)  # type: ignore[arg-type]
    assert verdict is not None
    return verdict


def test_the_installed_engine_is_tried_once(unchosen: Paths) -> None:
    verdict = verdict_of(unchosen)
    assert verdict.mode is not None
    assert verdict.tries[-1].outcome == "works"
    assert verdict_of(unchosen, probe=never) == verdict
    assert proven_mode(unchosen.cache) == verdict.mode
    again = verdict_of(unchosen, again=True)
    assert again.checked_at > verdict.checked_at


def test_the_mode_that_the_environment_names_is_not_tried(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE_VARIABLE, "haswell+no-repack")
    assert proven_mode(home.cache) == EngineMode("haswell", repack=False)
    assert not home.cache.exists()
    monkeypatch.setenv(MODE_VARIABLE, "../evil")
    with pytest.raises(UsageError, match=MODE_VARIABLE):
        proven_mode(home.cache)


def test_a_mode_that_is_none_is_refused_everywhere(
    home: Paths, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MODE_VARIABLE, "!")
    for verb in (["hardware"], ["engine", "check"], ["run", str(MODEL), "-p", "x"]):
        assert main(verb) == 2
        assert f"error: {MODE_VARIABLE} is '!'" in capfd.readouterr().err


@pytest.mark.parametrize(
    "mode",
    [EngineMode(), EngineMode("zen4"), EngineMode(repack=False), EngineMode("x64", repack=False)],
)
def test_modes_are_written_and_read(mode: EngineMode) -> None:
    assert EngineMode.parse(str(mode)) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("behaviour", "outcome", "detail"),
    [
        ("SIGILL repacked", "crashed", "signal 4, SIGILL"),
        ("SIGSEGV repacked", "crashed", "signal 11, SIGSEGV"),
        ("lie repacked", "wrong", "the logits are"),
        ("nan repacked", "wrong", "the logits are far off"),
    ],
)
def test_a_safer_way_is_found_and_kept(
    behaviour: str,
    outcome: str,
    detail: str,
    stand_in: Callable[[str], Paths],
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = stand_in(behaviour)
    verdict = verdict_of(home)
    assert [one.mode for one in verdict.tries] == ["default", "no-repack"]
    assert verdict.tries[0].outcome == outcome
    assert verdict.tries[0].detail.startswith(detail)
    assert verdict.mode == EngineMode(repack=False)
    assert verdict_of(home, probe=never) == verdict
    with Engine() as engine:  # the engine that answers is loaded in that way
        loaded = engine.load(LoadSettings(MODEL, n_ctx=64))
        assert loaded.build.endswith("(no-repack)")
        engine.logits(TOKENS, home.data)
    assert deviation(home.data.read_bytes(), LOGITS.read_bytes()) < BOUND
    assert main(["engine", "check"]) == 0
    shown = capfd.readouterr().out
    assert f"default                {outcome}: {detail}" in shown
    assert "loaded       no-repack\n" in shown
    assert "try: " in shown
    assert main(["doctor"]) == 1
    assert "as it was built" in capfd.readouterr().out
    assert main(["hardware"]) == 0
    assert "! the installed engine does not work on this machine as" in capfd.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_warns_and_answers(
    stand_in: Callable[[str], Paths], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "demo"]) == 0
    assert main(["quantize", "q8_0"]) == 0
    verdict_of(stand_in("SIGILL repacked"))
    capfd.readouterr()
    assert main(["run", "-p", "Once upon a time", "--max-tokens", "8"]) == 0
    captured = capfd.readouterr()
    assert captured.out.strip()
    (warning,) = [line for line in captured.err.splitlines() if "SIGILL" in line]
    assert warning.endswith("localq engine check says what mends it")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_where_nothing_works_each_command_says_so_in_a_line(
    stand_in: Callable[[str], Paths], capfd: pytest.CaptureFixture[str]
) -> None:
    home = stand_in("SIGILL")
    verdict = verdict_of(home)
    assert verdict.mode is None
    assert verdict_of(home, probe=never) == verdict
    assert main(["run", str(MODEL), "-p", "x"]) == 1
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 3  # the first says what is being loaded
    assert "does not work on this machine, nor in 1 safer way: it crashed (signal 4" in error[1]
    assert error[2] == "  try: localq engine check"
    with pytest.raises(EngineError, match="does not work"):
        Engine().load(LoadSettings(MODEL))
    assert main(["engine", "check", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["mode"] is None
    assert main(["hardware"]) == 0
    assert "--no-binary llama-cpp-python" in capfd.readouterr().out


def test_an_engine_that_hangs_is_not_waited_for(stand_in: Callable[[str], Paths]) -> None:
    def probe(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
        return run_probe(mode, arguments, 1.0 if mode == EngineMode() else PATIENCE)

    home = stand_in("hang repacked")
    verdict = verdict_of(home, probe=probe)
    assert [one.outcome for one in verdict.tries] == ["hung", "works"]
    assert verdict.tries[0].seconds < 30


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_may_pass_is_not_believed_for_ever(
    stand_in: Callable[[str], Paths], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = stand_in("SIGKILL repacked")  # as a system does that runs out of memory
    verdict = verdict_of(home)
    assert [one.outcome for one in verdict.tries] == ["killed", "works"]
    assert verdict_of(home, probe=never) == verdict
    monkeypatch.setattr("localq.engine.canary.verdict._PASSING_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="tried again"):
        verdict_of(home, probe=never)


def test_a_library_that_cannot_be_loaded_is_asked_again(
    unchosen: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    verdict = verdict_of(unchosen)
    assert {one.outcome for one in verdict.tries} == {"refused"}
    assert "cannot be loaded" in str(verdict.problem)
    with pytest.raises(AssertionError, match="tried again"):
        verdict_of(unchosen, probe=never)


def test_another_engine_or_processor_is_tried_anew(
    stand_in: Callable[[str], Paths], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = stand_in("works")
    verdict = verdict_of(home)
    files = engine_files()
    assert files
    bindings = files.files[-1]
    os.utime(bindings, (1, 1))  # the same engine, put there again
    assert verdict_of(home, probe=never) == verdict
    bindings.write_text(bindings.read_text() + "\n# another release\n")
    with pytest.raises(AssertionError, match="tried again"):
        verdict_of(home, probe=never)
    verdict_of(home)
    other = processor()[::-1]
    monkeypatch.setattr("localq.engine.canary.verdict.processor", lambda: other)
    with pytest.raises(AssertionError, match="tried again"):
        verdict_of(home, probe=never)


def test_nothing_large_is_read_at_every_start(
    unchosen: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict_of(unchosen)

    def fail(engine: object) -> str:
        raise AssertionError("the libraries are hashed again")

    monkeypatch.setattr("localq.engine.canary.verdict.digest", fail)
    verdict_of(unchosen, probe=never)


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", "[" * 100_000, '{"verdicts": 7}', '{"libraries": {}, "verdicts": {"x": {}}}'],
)
def test_a_damaged_note_is_made_again(damage: str, unchosen: Paths) -> None:
    verdict = verdict_of(unchosen)
    file = unchosen.cache / "engine.json"
    file.write_text(damage)
    assert verdict_of(unchosen).mode == verdict.mode
    assert verdict_of(unchosen, probe=never).mode == verdict.mode


def test_a_note_that_lies_is_not_believed(unchosen: Paths) -> None:
    verdict_of(unchosen)
    file = unchosen.cache / "engine.json"
    for change in ('"mode": "/etc"', '"mode": 7', '"outcome": "fine"'):
        kept = file.read_text()
        name = change.partition(":")[0]
        lines = [
            f"{change}," if line.strip().startswith(name) else line for line in kept.split("\n")
        ]
        file.write_text("\n".join(lines))
        with pytest.raises(AssertionError, match="tried again"):
            verdict_of(unchosen, probe=never)
        file.write_text(kept)


def test_where_nothing_can_be_kept_the_engine_is_tried_and_used(unchosen: Paths) -> None:
    unchosen.cache.parent.mkdir(parents=True, exist_ok=True)
    unchosen.cache.write_text("in the way")
    verdict = verdict_of(unchosen)
    assert verdict.mode is not None
    assert unchosen.cache.read_text() == "in the way"
    assert verdict_of(unchosen, probe=never) == verdict  # in this process


def test_the_order_of_the_ways() -> None:
    def probe(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
        if arguments:
            return Answer({"variants": ["sapphirerapids", "icelake", "haswell", "x64"]}, 0)
        return Answer({}, -signal.SIGILL)

    assert [one.mode for one in try_modes(probe)] == [
        *("default", "icelake", "no-repack", "haswell", "x64", "x64+no-repack"),
    ]


@pytest.mark.parametrize("variants", [None, "haswell", [1, 2], ["../../evil"], ["a", "b\n"]])
def test_nonsense_about_variants(variants: object) -> None:
    def probe(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
        return Answer({"variants": variants} if arguments else {}, 0 if arguments else 3)

    assert [one.mode for one in try_modes(probe)] == ["default", "no-repack"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer({"deviation": 0.028}, 0), "works"),
        (Answer({"deviation": 0.2}, 0), "wrong"),
        (Answer({"deviation": float("nan")}, 0), "wrong"),
        (Answer({"deviation": "0.01"}, 0), "refused"),
        (Answer({"error": "no memory"}, 0), "refused"),
        (Answer({"deviation": 0.0}, 1), "crashed"),
        (Answer({}, 0xC000001D), "crashed"),
        (Answer({}, None), "hung"),
    ],
)
def test_answers_are_judged(answer: Answer, outcome: str) -> None:
    first = try_modes(lambda mode, arguments, seconds: answer)[0]
    assert first.outcome == outcome


def test_the_problem_is_one_line() -> None:
    crashed = Try("default", "crashed", "signal 4, SIGILL", 0.1)
    works = Try("haswell", "works", "logits within 2.8% of the right ones", 0.1)
    assert EngineVerdict("/lib", (works,), 0).problem is None
    assert EngineVerdict("/lib", (crashed, works), 0).problem == (
        "the installed engine does not work on this machine as it was built: it crashed (signal 4,"
        " SIGILL); it is run with the CPU variant haswell instead"
    )
    assert EngineVerdict("/lib", (crashed,), 0).problem == (
        "the installed engine does not work on this machine: it crashed (signal 4, SIGILL)"
    )


def test_the_recorded_logits_are_the_models() -> None:
    right = logits(weights(MODEL), list(TOKENS))
    assert MODEL.stat().st_size + LOGITS.stat().st_size < 2_000_000
    recorded = np.frombuffer(LOGITS.read_bytes(), "<f4").reshape(right.shape)
    np.testing.assert_allclose(recorded, right, rtol=1e-5, atol=1e-6)


def test_a_canary_with_a_wrong_part_is_noticed() -> None:
    """An eighth of any matrix that a kernel leaves out makes more than the bound."""
    weight = weights(MODEL)
    for name, matrix in weight.items():
        if matrix.ndim == 1:
            continue
        rows, columns = matrix.copy(), matrix.copy()
        rows[-len(rows) // 8 :] = 0
        columns[:, : columns.shape[1] // 8] = 0
        for wrong in (rows, columns):
            answer = logits({**weight, name: wrong}, list(TOKENS)).astype("<f4").tobytes()
            assert deviation(answer, LOGITS.read_bytes()) > 1.5 * BOUND


def test_deviations() -> None:
    right = np.array([3, -4], "<f4").tobytes()
    assert deviation(right, right) == 0
    assert deviation(np.array([3, 1], "<f4").tobytes(), right) == pytest.approx(1)
    assert deviation(np.array([np.nan, 1], "<f4").tobytes(), right) == float("inf")
    assert deviation(b"", right) == float("inf")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_second_copy_of_a_library_is_loaded() -> None:
    """Wheels hold copies in place of links; a second ggml would have devices of its own."""
    code = (
        "from localq.engine.bindings import *; api = llama_cpp(); folder = library_folder(api)\n"
        "for name in ('ggml', 'ggml-base'): library(folder, name)\n"
        "paths = {line.split()[-1] for line in open('/proc/self/maps') if 'libggml' in line}\n"
        "print(*sorted(path.rpartition('/')[2].partition('.so')[0] for path in paths))"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(shown) == len(set(shown))
    assert {"libggml", "libggml-base"} <= set(shown)


def test_an_engine_whose_compiler_breaks_amx(
    unchosen: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOCALQ_AMX_LIBRARIES: the folder of an engine that gcc 12 compiled with AMX."""
    folder = os.environ.get("LOCALQ_AMX_LIBRARIES")
    cpuinfo = Path("/proc/cpuinfo")
    if not folder or not cpuinfo.exists() or "amx_int8" not in cpuinfo.read_text():
        pytest.skip("needs LOCALQ_AMX_LIBRARIES, and a processor with AMX")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", folder)
    verdict = verdict_of(unchosen)
    assert [one.outcome for one in verdict.tries] == ["crashed", "works"]
    with Engine() as engine:
        engine.load(LoadSettings(MODEL, n_ctx=64))
        engine.logits(TOKENS, unchosen.data)
    assert deviation(unchosen.data.read_bytes(), LOGITS.read_bytes()) < BOUND
