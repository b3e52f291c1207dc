"""Plans of models on this machine: saved options, the ledger, the verb, the engine."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest

import localq
from localq.cli.main import main
from localq.database import Database
from localq.engine.client import LoadedModel, LoadSettings
from localq.engine.memory_report import BufferMemory
from localq.errors import EngineError, UsageError
from localq.events import JobEvent, Note
from localq.formats.gguf import Field, ValueType
from localq.library import Library
from localq.paths import Paths
from localq.planning.memory_ledger import LedgerEntry, MemoryLedger, MemoryParts
from localq.planning.offload_plan import OffloadPlan, PlanOptions
from localq.planning.saved_settings import SavedPlanOptions, merged
from localq.services.chat.conversation import Conversation
from localq.services.doctor.doctor import CheckContext
from localq.services.doctor.memory import drifted
from localq.services.machine.memory_ledger import ledger, measured_parts
from localq.services.machine.plan import check_plan, load_settings, plan_model
from localq.services.machine.plan_arguments import langchain_arguments, llama_cpp_flags
from tests.invented_machines import GIB, machine
from tests.memory_truths import TRUTHS, Header, read_truths, write_hollow

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def demo(home: Paths, capsys: Capture) -> str:
    """The name of a quantized model in the library."""
    assert main(["pull", "demo"]) == 0
    assert main(["quantize", "q8_0"]) == 0
    name = capsys.readouterr().out.splitlines()[-1]
    assert name.endswith(":Q8_0")
    return name


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model of 70 billion parameters, all of them holes."""
    path = tmp_path / "large.gguf"
    write_hollow(read_truths(TRUTHS / "Llama-3.1-70B.Q4_0.json").header, path)
    return path


def test_the_plan_is_what_the_engine_does(home: Paths, demo: str, capsys: Capture) -> None:
    with Library() as library:
        planned = plan_model(library, demo, PlanOptions(n_ctx=300, n_threads=1))
        plan = planned.plan
        assert (plan.n_ctx, plan.n_threads, plan.n_threads_batch) == (300, 1, 1)
        plan_options = PlanOptions(n_ctx=300, n_threads=1, n_batch=64, use_mmap=False)
        with Conversation.open(library, demo, plan_options=plan_options) as conversation:
            loaded = conversation.loaded
        assert loaded.n_ctx == 300
        assert (loaded.n_threads, loaded.n_batch, loaded.n_ubatch) == (1, 64, 64)
        [entry] = ledger(home).entries()
    assert entry.model == demo.casefold()
    assert entry.settings["n_ctx"] == 300
    assert entry.measured.cache == pytest.approx(entry.predicted.cache, abs=6000)
    assert entry.measured.weights == pytest.approx(entry.predicted.weights, abs=20_000)
    assert abs(entry.error) < 0.2  # of 19 MB, of which the model is one


def test_saved_plan_options_hold_until_forgotten(home: Paths, demo: str, capsys: Capture) -> None:
    assert main(["plan", demo, "--save", "--ctx", "256", "--threads", "1"]) == 0
    assert main(["plan", demo.upper(), "--save", "--kv", "bf16,f16"]) == 0
    capsys.readouterr()
    assert main(["plan", demo, "--json"]) == 0
    saved = json.loads(capsys.readouterr().out)
    assert (saved["n_ctx"], saved["n_threads"], saved["type_k"]) == (256, 1, "bf16")
    assert localq.plan(demo).n_ctx == 256
    assert main(["run", demo, "-p", "Once", "--max-tokens", "1", "--ctx", "128"]) == 0
    with Library() as library:
        assert plan_model(library, demo, PlanOptions(n_ctx=128)).plan.n_ctx == 128
        with Conversation.open(library, demo) as conversation:
            assert conversation.loaded.n_ctx == 256
            assert conversation.loaded.type_k == "bf16"
    assert main(["plan", demo, "--forget"]) == 0
    assert "forgot what was kept" in capsys.readouterr().err
    assert localq.plan(demo).n_ctx == 512
    assert main(["plan", demo, "--forget"]) == 0
    assert "nothing was kept" in capsys.readouterr().err


def test_the_verb_for_people(demo: str, capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["plan", demo, "--explain", "--kv", "bf16", "--mlock", "--no-mmap"]) == 0
    shown = capsys.readouterr()
    for words in (
        "512 tokens",
        "0 of 6 on devices",
        "bf16",
        "read, locked in memory",
        "host",
        "threads: ",
        "memory: host has",
    ):
        assert words in shown.out
    assert shown.err == ""


def test_the_json_names_the_fields_of_the_plan(demo: str, capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["plan", demo, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"model", "path", *(field.name for field in fields(OffloadPlan))}
    assert document["estimate"]["devices"][0]["name"] == "host"
    assert document["problem"] is None


def test_what_cannot_fit_is_refused_before_it_is_loaded(
    home: Paths, large: Path, capsys: Capture
) -> None:
    small = machine(8 * GIB, threads=2)
    with Library() as library:
        planned = plan_model(library, str(large), profile=small)
        assert not planned.plan.fits
        with pytest.raises(EngineError, match="cannot run here") as caught:
            check_plan(planned)
        assert "--force" in str(caught.value.hint)
    # More layers than memory, whatever this machine has.
    arguments = ["--ctx", str(1 << 24), "-p", "Hello"]
    assert main(["run", str(large), *arguments]) == 1
    error = capsys.readouterr().err
    assert "cannot run here" in error
    assert "16,777,216 tokens" in error
    assert main(["plan", str(large), "--ctx", str(1 << 24)]) == 0
    shown = capsys.readouterr()
    assert "16,777,216 tokens" in shown.out
    assert "it cannot run so" in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--kv", "q9"],
        ["--kv", "f16,nothing"],
        ["--kv", "f16,q8_0,q4_0"],
        ["--kv", ","],
        ["--kv", ""],
        ["--save"],
        ["--ctx", "0"],
        ["--threads", "0"],
        ["--gpu-layers", "-2"],
        ["--json", "--langchain"],
        ["--save", "--forget"],
    ],
)
def test_options_that_make_no_sense(demo: str, arguments: list[str], capsys: Capture) -> None:
    assert main(["plan", demo, *arguments]) == 2
    assert capsys.readouterr().err.startswith("error:")


@pytest.mark.usefixtures("home")
def test_keys_and_values_of_a_call(large: Path, capsys: Capture) -> None:
    for given, kept in (("Q8_0", ["q8_0", "q8_0"]), ("f16, q4_0", ["f16", "q4_0"])):
        assert main(["plan", str(large), "--kv", given, "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert [plan["type_k"], plan["type_v"]] == kept
    assert main(["plan", str(large), "--kv", "nothing"]) == 2
    assert "cannot be kept as 'nothing'" in capsys.readouterr().err
    assert main(["fit", str(large), "--kv", "q2_k"]) == 2
    error = capsys.readouterr().err
    assert "iq4_nl" in error
    assert "q3_k" not in error


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", [["plan"], ["fit"], ["run", "-p", "hello"]])
def test_a_header_that_lies_is_one_line_with_the_models_name(
    verb: list[str], tmp_path: Path, capsys: Capture
) -> None:
    header = read_truths(TRUTHS / "Llama-3.2-1B.Q4_0.json").header
    name = "llama.attention.head_count"
    lies = {**header.fields, name: Field(ValueType.ARRAY, ["\x1b[2J"], ValueType.STRING)}
    path = tmp_path / "lies.gguf"
    write_hollow(Header(lies, header.tensors), path)
    assert main([*verb, str(path)]) == 1
    error, *_ = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: {name} is ")
    assert error.count(str(path)) == 1
    assert "\x1b" not in error


def _plan(home: Paths, path: Path) -> OffloadPlan:
    with Library() as library:
        profile = machine(64 * GIB, 20 * GIB, 10 * GIB, threads=6)
        return plan_model(library, str(path), profile=profile).plan


def test_arguments_for_llama_cpp(home: Paths, large: Path) -> None:
    plan = _plan(home, large)
    flags = llama_cpp_flags(large, plan)
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    assert pairs["-m"] == str(large)
    assert int(pairs["-ngl"]) == plan.n_gpu_layers > 1
    assert plan.tensor_split is not None
    assert [float(n) for n in pairs["-ts"].split(",")] == [*plan.tensor_split]
    assert (pairs["-c"], pairs["-t"], pairs["-fa"]) == ("4096", "6", "auto")
    assert "--load-mode" not in pairs
    unmapped = llama_cpp_flags(large, replace(plan, use_mmap=False, n_cpu_moe=3))
    assert unmapped[unmapped.index("--load-mode") + 1] == "none"
    assert unmapped[unmapped.index("-ncmoe") + 1] == "3"


def test_arguments_for_langchain(home: Paths, large: Path, capsys: Capture) -> None:
    plan = _plan(home, large)
    arguments = langchain_arguments(large, plan)
    # The parameters of langchain_community.llms.LlamaCpp.
    assert set(arguments) <= {
        "model_path",
        "n_ctx",
        "n_threads",
        "n_batch",
        "n_gpu_layers",
        "use_mmap",
        "use_mlock",
        "model_kwargs",
    }
    more = arguments["model_kwargs"]
    assert isinstance(more, dict)
    assert more["type_k"] == 1
    assert plan.tensor_split is not None
    assert more["tensor_split"] == [*plan.tensor_split]
    assert main(["plan", str(large), "--langchain"]) == 0
    printed = capsys.readouterr().out
    assert eval(printed, {"LlamaCpp": dict})["model_path"] == str(large)


def test_the_engine_takes_every_plan(home: Paths, large: Path) -> None:
    plan = _plan(home, large)
    settings = load_settings(large, plan)
    assert settings.n_gpu_layers == plan.n_gpu_layers
    assert settings.tensor_split == plan.tensor_split
    assert settings.n_ctx == plan.n_ctx


def test_plan_options_of_a_call_go_before_those_kept(home: Paths) -> None:
    kept = PlanOptions(n_ctx=256, n_threads=3, use_mmap=False)
    assert merged(PlanOptions(n_ctx=512), kept) == PlanOptions(
        n_ctx=512, n_threads=3, use_mmap=False
    )
    saved = SavedPlanOptions(Database(home.database))
    assert saved.of("a/b:Q4_0") == PlanOptions()
    assert not saved.forget("a/b:Q4_0")
    saved.save("a/b:Q4_0", kept)
    assert saved.of("A/B:q4_0") == kept


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"n_ctx": "many", "other": 1}', '{"n_ctx": true}', "null"]
)
def test_damaged_plan_options_are_none(home: Paths, text: str) -> None:
    saved = SavedPlanOptions(Database(home.database))
    saved.save("m", PlanOptions(n_ctx=1))
    with sqlite3.connect(home.database) as connection:
        connection.execute("UPDATE saved_wishes SET wishes = ?", (text,))
    connection.close()
    assert saved.of("m") == PlanOptions()


def test_what_cannot_be_planned_is_tried_by_force_alone(
    home: Paths, tmp_path: Path, capsys: Capture
) -> None:
    header = read_truths(TRUTHS / "SmolLM2-135M-Instruct.Q4_0.json").header
    path = tmp_path / "strange.gguf"
    rest = tuple(tensor for tensor in header.tensors if tensor.name != "token_embd.weight")
    write_hollow(replace(header, tensors=rest), path)
    arguments = ["run", str(path), "-p", "Hello"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "not a language model" in error
    assert "--force" in error
    assert main([*arguments, "--force", "--ctx", "64"]) == 1
    assert "cannot be loaded" in capsys.readouterr().err  # by the engine


def test_plan_options_that_make_no_sense_are_refused(home: Paths, demo: str) -> None:
    with Library() as library:
        for plan_options in (
            PlanOptions(n_ctx=0),
            PlanOptions(type_k="q9"),
            PlanOptions(flash_attn="maybe"),
        ):
            with pytest.raises(UsageError):
                plan_model(library, demo, plan_options)


def _entry(measured: int, model: str = "m", overhead: int | None = 100) -> LedgerEntry:
    parts = MemoryParts(measured - 300, 100, 100, overhead)
    return LedgerEntry(model, "engine 1", {"n_ctx": 512}, MemoryParts(700, 100, 100, 100), parts, 1)


def test_the_ledger_counts_each_model_and_setting_once(home: Paths) -> None:
    books = MemoryLedger(Database(home.database))
    assert books.drift() is None
    for measured in (500, 1000):
        books.record(_entry(measured))
    books.record(_entry(1250, "other"))
    drift = books.drift("engine 1")
    assert drift is not None
    assert (drift.loads, drift.highest) == (2, 0.0)
    assert drift.lowest == pytest.approx(-0.2)
    assert drift.worst.model == "other"
    assert books.drift("engine 2") is None
    assert _entry(900, overhead=None).error == pytest.approx(900 / 800 - 1)


def test_the_ledger_does_not_grow_for_ever(home: Paths) -> None:
    books = MemoryLedger(Database(home.database))
    books.record(_entry(1000))
    with sqlite3.connect(home.database) as connection:
        connection.execute("UPDATE memory_loads SET id = 1")
        connection.execute("UPDATE sqlite_sequence SET seq = 600 WHERE name = 'memory_loads'")
    connection.close()
    books.record(_entry(1000, "later"))
    assert [entry.model for entry in books.entries()] == ["later"]


def test_doctor_says_how_predictions_fare(home: Paths) -> None:
    with Library() as library:
        said: list[JobEvent] = []
        context = CheckContext(library, said.append, threading.Event())
        assert [*drifted(context)] == []
        assert said == []
        ledger(home).record(_entry(1000))
        assert [*drifted(context)] == []
        assert isinstance(said[0], Note)
        assert "1 load: predictions were +0.0% off" in said[0].text
        ledger(home).record(_entry(1100, "small"))
        assert [*drifted(context)] == []
        ledger(home).record(_entry(200 << 20, "greedy", overhead=100))
        [finding] = drifted(context)
        assert "greedy" in finding.problem


def test_only_what_is_not_copied_out_of_a_mapped_file_counts() -> None:
    memory = (
        BufferMemory("CPU_Mapped", model_bytes=1000),
        BufferMemory("CPU_REPACK", model_bytes=700),
        BufferMemory("CPU", context_bytes=50, compute_bytes=20, output_bytes=5),
    )
    loaded = LoadedModel(
        n_ctx=512,
        n_ctx_train=512,
        n_vocab=10,
        n_threads=1,
        description="",
        load_seconds=0.0,
        memory=memory,
        anonymous_bytes=850,
    )
    assert measured_parts(loaded, 1010) == MemoryParts(1010, 50, 25, 100)
    assert measured_parts(replace(loaded, memory=()), 1010) is None


def test_a_plan_is_kept_out_of_a_library_that_is_not_there(home: Paths, large: Path) -> None:
    with Library() as library:
        plan_model(library, str(large))
    assert not home.database.exists()
    assert LoadSettings(large).adapt_threads is False
