"""A small model that guesses for a larger one: the same text, in fewer steps of the larger one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.errors import EngineError, UsageError
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.services.machine.plan import load_settings, plan_model
from tests.engine.test_engine import DEMO, make_gguf, unheard
from tests.engine.test_engine_many import same_but_for_ties
from tests.memory_truths import TRUTHS, read_truths, write_hollow

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("exact"), QuantType.F32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("small"), QuantType.Q8_0)


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A model of another vocabulary."""
    path = tmp_path / "stranger.gguf"
    write_hollow(read_truths(TRUTHS / "Llama-3.1-70B.Q4_0.json").header, path)
    return path


def test_a_draft_changes_nothing_of_what_is_said(exact: Path, small: Path) -> None:
    settings = LoadSettings(exact, n_ctx=1024, n_threads=1, type_k="f32", type_v="f32")
    prompts = ["Once upon a time", "Tom and Lily", "The big red ball", "One day a dog " * 20]
    sampling = SamplingParams(max_tokens=80, temperature=0)
    with Engine() as engine:
        engine.load(settings)
        told = replace(sampling, logprobs=2)
        alone = [engine.generate(prompt, told, on_text=unheard) for prompt in prompts]
        engine.load(replace(settings, n_draft=15, draft=small, n_seq_max=4))
        drafted = [engine.generate(prompt, sampling, on_text=unheard) for prompt in prompts]
        again = engine.generate(prompts[0], sampling, on_text=unheard)
        with ThreadPoolExecutor(4) as pool:
            together = list(
                pool.map(lambda p: engine.generate(p, sampling, on_text=unheard), prompts)
            )
    for one, other, expected in zip(drafted, together, alone, strict=True):
        assert same_but_for_ties(one, expected)
        assert same_but_for_ties(other, expected)
    assert same_but_for_ties(again, alone[0])
    # Whether guessing pays is measured: here both are as small, and it need not go on.
    assert sum(one.draft_tokens for one in drafted) > 0
    assert all(one.accepted_tokens <= one.draft_tokens for one in drafted)


def test_another_vocabulary_of_the_same_size_is_none(
    home: Paths, exact: Path, tmp_path: Path
) -> None:
    content = exact.read_bytes()
    assert b"<unk>" in content
    other = tmp_path / "other.gguf"
    other.write_bytes(content.replace(b"<unk>", b"<UNK>"))
    with Engine() as engine, pytest.raises(EngineError) as refused:
        engine.load(LoadSettings(exact, n_ctx=64, n_threads=1, n_draft=4, draft=other))
    assert f"{other} cannot be its draft" in str(refused.value)
    with Library() as library, pytest.raises(UsageError) as unplanned:
        plan_model(library, str(exact), PlanOptions(draft=str(other)))
    assert str(other) in str(unplanned.value)


def test_its_memory_is_planned(home: Paths, exact: Path, small: Path) -> None:
    with Library() as library:
        alone = plan_model(library, str(exact), PlanOptions(n_ctx=512)).plan
        options = PlanOptions(n_ctx=512, draft=str(small))
        plan = plan_model(library, str(exact), options).plan
        settings = load_settings(exact, plan)
    assert (alone.draft, plan.draft, settings.draft) == (None, small, small)
    assert settings.n_draft == plan.n_draft > 0
    assert plan.estimate.host.weights > alone.estimate.host.weights
    # Both have the same layers, and keep keys and values alike.
    assert plan.estimate.host.kv_cache == 2 * alone.estimate.host.kv_cache
    with Engine() as engine:
        loaded = engine.load(replace(settings, adapt_threads=False))
    context = sum(memory.context_bytes for memory in loaded.memory)
    assert context == pytest.approx(plan.estimate.kv_cache, rel=0.01)


def test_what_cannot_be_a_draft_is_one_line(
    home: Paths, exact: Path, small: Path, stranger: Path, capsys: Capture
) -> None:
    cases = [
        (["--draft", str(stranger)], "its vocabulary has 128,256 tokens, not 512"),
        (["--draft", "nowhere.gguf"], "nowhere.gguf"),
        (["--draft", str(small), "--draft-max", "0"], "no tokens to guess"),
    ]
    for arguments, reason in cases:
        assert main(["run", str(exact), "-p", "Once", *arguments]) != 0
        said = capsys.readouterr().err.strip().splitlines()
        assert reason in said[0]
        assert len(said) <= 2


def test_the_verb_says_how_good_guesses_were(
    home: Paths, exact: Path, small: Path, capsys: Capture
) -> None:
    arguments = ["run", str(exact), "-p", "Once upon a time", "--max-tokens", "60", "--json"]
    arguments += ["--draft", str(small), "--temperature", "0"]
    assert main(arguments) == 0
    done = json.loads(capsys.readouterr().out)
    assert 0 <= done["accepted_tokens"] <= done["draft_tokens"]
    assert done["draft_tokens"] > 0


def test_a_model_of_unknown_needs_takes_no_draft(home: Paths, exact: Path, small: Path) -> None:
    options = PlanOptions(draft=str(small), n_draft=0)
    with Library() as library, pytest.raises(UsageError):
        plan_model(library, str(exact), options)
