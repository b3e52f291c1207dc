"""Evaluations, beside numbers of llama-perplexity."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.cli.main import main
from localq.database import Database
from localq.errors import (
    Cancelled,
    EngineError,
    HubError,
    LocalqError,
    NotFoundError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Progress, Unit
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType
from localq.hardware.profile import HardwareProfile
from localq.library import Library
from localq.paths import Paths
from localq.quality.cards import QualityCards
from localq.quality.results import EvaluatedModel, Evaluation
from localq.services.machine.plan import planning_profile
from localq.services.quality.evaluate import EvaluateRequest, evaluate
from localq.services.quality.wikitext import wikitext2
from tests.engine.test_engine import DEMO, make_gguf
from tests.hub_server import HubServer
from tests.reference.make_evaluation import TYPES

REFERENCE: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "evaluation.json").read_text(encoding="utf-8")
)
N_CTX: int = REFERENCE["n_ctx"]
CHUNKS = 6
TOKENS = "tokenizer.ggml.tokens"
QUANTS = [type_.name for type_ in TYPES[1:]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo model in some types, and text.txt."""
    folder = tmp_path_factory.mktemp("models")
    for type_ in TYPES:
        make_gguf(DEMO, folder, type_).rename(folder / f"{type_.name}.gguf")
    (folder / "text.txt").write_text(REFERENCE["text"], encoding="utf-8")
    return folder


def one_thread() -> HardwareProfile:
    """This machine, of which other tests have their part too."""
    profile = planning_profile()
    return replace(profile, cpu=replace(profile.cpu, threads=1, threads_batch=1))


class Job:
    def __init__(self, home: Paths, models: Path) -> None:
        self.library = Library(home)
        self.models = models
        self.events: list[JobEvent] = []
        self.cancel = threading.Event()

    def run(self, *names: str, against: str | None = None, **more: Any) -> Evaluation:
        files = tuple(str(self.models / f"{name}.gguf") for name in names)
        base = str(self.models / f"{against}.gguf") if against else None
        settings: dict[str, Any] = {"text": self.models / "text.txt", "n_ctx": N_CTX, **more}
        request = EvaluateRequest(files, against=base, **settings)
        return evaluate(
            self.library, request, self.events.append, self.cancel, profile=one_thread()
        )

    def refused(self, kind: type[LocalqError], match: str, *names: str, **more: Any) -> None:
        with pytest.raises(kind, match=match):
            self.run(*names, **more)


@pytest.fixture
def job(home: Paths, models: Path) -> Job:
    return Job(home, models)


def test_the_figures_are_those_of_llama_perplexity(job: Job) -> None:
    """With the base in 16 bits; what differs is the last digits of the processor's."""
    found = job.run(*QUANTS, against="F16", rounded=True)
    assert [model.model for model in found.models] == [f"{type_.name}.gguf" for type_ in TYPES]
    for model, name in zip(found.models[1:], QUANTS, strict=True):
        expected = REFERENCE["models"][name]
        one = model.divergence
        assert one is not None
        assert model.perplexity.value == pytest.approx(expected["perplexity"][0], rel=1e-3)
        assert model.perplexity.error == pytest.approx(expected["perplexity"][1], rel=1e-2)
        for field, scale in (
            ("log_ratio", 1),
            ("ratio", 1),
            ("difference", 1),
            ("kld", 1),
            ("p_change", 100),
            ("p_change_rms", 100),
            ("same_top", 100),
        ):
            value, error = expected[field]
            found_one = getattr(one, field)
            assert scale * found_one.value == pytest.approx(value, rel=0.02, abs=2e-3), field
            assert scale * found_one.error == pytest.approx(error, rel=0.02, abs=2e-3), field
        for field in ("maximum", "p99_9", "p99", "p95", "p90", "median"):
            (value,) = expected[f"kld_{field}"]
            assert getattr(one.kld_spread, field) == pytest.approx(value, rel=0.03, abs=1e-4)
        for field in ("maximum", "p75", "median", "minimum"):
            (value,) = expected[f"p_change_{field}"]
            assert 100 * getattr(one.p_change_spread, field) == pytest.approx(
                value, rel=0.03, abs=5e-3
            )


@pytest.mark.slow
def test_the_figures_of_a_larger_vocabulary(home: Paths, material: Path, tmp_path: Path) -> None:
    """What llama-perplexity prints (-c 512 --chunks 12, against F16) for a model trained on the
    text's like."""
    expected = {"Q8_0": (61.502026, 0.000058), "Q5_1": (61.524803, 0.000557)}
    expected |= {"Q4_0": (61.6817, 0.00229)}
    checkpoint = material / "models" / "tiny-wiki-llama"
    for name in ("F16", *expected):
        make_gguf(checkpoint, tmp_path, QuantType[name]).rename(tmp_path / f"{name}.gguf")
    text = (material / "corpora" / "wikitext-2.test.txt").read_bytes()[:100_000]
    (tmp_path / "text.txt").write_bytes(text)
    job = Job(home, tmp_path)
    base, *others = job.run(*expected, against="F16", n_ctx=512, chunks=12, rounded=True).models
    assert base.perplexity.value == pytest.approx(61.4925, rel=1e-3)
    for model, (perplexity, kld) in zip(others, expected.values(), strict=True):
        assert model.divergence
        assert model.perplexity.value == pytest.approx(perplexity, rel=1e-3)
        assert model.divergence.kld.value == pytest.approx(kld, rel=0.02, abs=1e-6)


def test_without_rounding_little_changes(job: Job) -> None:
    """The bound that the documents state: 16 bits move a divergence by less than 1e-4."""
    plain = job.run("Q4_0", "F16", against="F16").models[1]
    rounded = job.run("Q4_0", against="F16", rounded=True).models[1]
    assert plain.divergence
    assert rounded.divergence
    assert plain.divergence.kld.value == pytest.approx(rounded.divergence.kld.value, abs=1e-4)
    assert plain.perplexity == rounded.perplexity


def test_more_bits_are_no_worse_within_the_error(job: Job) -> None:
    base, *quants = job.run(*QUANTS, against="F16").models
    for better, worse in zip([base, *quants], quants, strict=False):
        room = worse.divergence.difference.error * 2 if worse.divergence else 0
        assert better.perplexity.value <= worse.perplexity.value + room
    klds = [model.divergence.kld.value for model in quants if model.divergence]
    assert klds == sorted(klds)
    assert klds[0] > 0


def test_models_that_are_read_alone_have_the_same_perplexity(job: Job) -> None:
    together = {m.model: m.perplexity.value for m in job.run("Q4_0", against="F16").models}
    alone = {m.model: m.perplexity.value for m in job.run("Q4_0", "F16").models}
    assert alone == pytest.approx(together, rel=1e-6)


def test_rounds_change_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they do not fit into memory together, the base is read again, and counted once."""
    together = job.run(*QUANTS, against="F16")
    monkeypatch.setattr(
        "localq.services.quality.evaluate.rounds",
        lambda base, others, machine: [range(i, i + 1) for i in range(len(others))],
    )
    apart = job.run(*QUANTS, against="F16")
    assert [_figures(model) for model in apart.models] == [
        pytest.approx(_figures(model), rel=1e-6) for model in together.models
    ]


def _figures(model: EvaluatedModel) -> list[float]:
    kld = model.divergence.kld.value if model.divergence else 0
    return [model.tokens, model.perplexity.value, model.perplexity.error, kld]


def test_it_stops_when_it_is_exact_enough(job: Job) -> None:
    (whole,) = job.run("Q8_0").models
    assert (whole.chunks, whole.whole_text) == (CHUNKS, True)
    assert whole.tokens == CHUNKS * (N_CTX // 2 - 1)
    (some,) = job.run("Q8_0", until=0.3).models
    assert some.chunks < CHUNKS
    assert not some.whole_text
    assert some.perplexity.error <= 0.3 * some.perplexity.value
    (one,) = job.run("Q8_0", chunks=1).models
    assert (one.chunks, one.whole_text) == (1, False)


def test_progress_is_counted_in_tokens_and_says_what_is_known(job: Job) -> None:
    job.run("Q8_0", "Q4_0", against="F16", chunks=3)
    steps = [event for event in job.events if isinstance(event, Progress)]
    assert [(step.done, step.total) for step in steps] == [
        (done * N_CTX, 3 * N_CTX) for done in range(4)
    ]
    assert {step.unit for step in steps} == {Unit.TOKENS}
    assert steps[0].detail == ""
    assert steps[-1].detail.startswith("perplexity 3.")


def test_nothing_is_written_but_the_log(job: Job, home: Paths, models: Path) -> None:
    before = sorted(models.iterdir())
    job.run("Q4_0", against="F16")
    assert sorted(models.iterdir()) == before
    largest = max((p.stat().st_size for p in home.data.parent.rglob("*") if p.is_file()), default=0)
    assert largest < 1 << 20


def test_a_cancel_ends_it_at_once(job: Job) -> None:
    seen: list[int] = []

    def stop(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done:
            seen.append(event.done)
            job.cancel.set()

    request = EvaluateRequest((str(job.models / "Q4_0.gguf"),), job.models / "text.txt", None, 16)
    with pytest.raises(Cancelled):
        evaluate(job.library, request, stop, job.cancel)
    assert seen == [16]


def test_bad_input_is_one_clear_line(job: Job, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("too short")
    job.refused(UsageError, r"short\.txt: 7 tokens of text; .* at least 128", "Q4_0", text=short)
    job.refused(NotFoundError, "no such text file", "Q4_0", text=tmp_path / "none.txt")
    job.refused(NotFoundError, "none", "none")
    job.refused(UsageError, "nothing to compare", "F16", against="F16")
    job.refused(UsageError, "8 tokens", "F16", n_ctx=8)
    job.refused(UsageError, "0 chunks", "F16", chunks=0)
    job.refused(UsageError, "an error of 200 %", "F16", until=2.0)
    job.refused(UsageError, "0 models")


def test_logits_that_are_no_numbers_name_their_model(job: Job, tmp_path: Path) -> None:
    good = job.models / "Q4_0.gguf"
    norm = next(t for t in read_gguf(good).tensors if "output_norm" in t.name)
    data = bytearray(good.read_bytes())
    data[norm.offset : norm.offset + norm.nbytes] = np.full(norm.shape, np.nan, "<f4").tobytes()
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(data)
    job.refused(EngineError, r"bad\.gguf: its logits are not numbers", str(bad)[:-5])
    job.refused(EngineError, r"bad\.gguf: its logits are not numbers", str(bad)[:-5], against="F16")
    job.refused(EngineError, r"bad\.gguf: its logits are not numbers", "Q8_0", str(bad)[:-5])
    cards = QualityCards(Database(job.library.paths.database)).latest()
    assert [path.name for path in cards] == ["Q8_0.gguf"], "what was found before is kept"


def test_another_vocabulary_is_refused(job: Job, tmp_path: Path) -> None:
    """Same size, one other token: the numbers would say nothing."""
    data = (job.models / "Q4_0.gguf").read_bytes()
    tokens = read_gguf(job.models / "Q4_0.gguf").metadata[TOKENS]
    assert isinstance(tokens, list)
    token = next(t for t in tokens if isinstance(t, str) and len(t) > 4)
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(token.encode(), token[:-1].encode() + b"#", 1))
    job.refused(UsageError, r"other\.gguf: its vocabulary is not", str(other)[:-5], against="F16")
    assert len(job.run(str(other)[:-5], "Q4_0").models) == 2


def test_an_embedding_model_is_refused(job: Job, tmp_path: Path) -> None:
    data = (job.models / "Q4_0.gguf").read_bytes()
    encoder = tmp_path / "encoder.gguf"
    key = b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"
    assert key + b"llama" in data
    changed = key.replace(b"\x05", b"\x04", 1) + b"bert"
    encoder.write_bytes(data.replace(key + b"llama", changed, 1) + b"\0")
    job.refused(UnsupportedError, "embedding model", str(encoder)[:-5])


def test_wikitext_is_fetched_and_checked(job: Job, hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "ci"
    folder.mkdir()
    (folder / "wikitext-2-raw-v1.zip").write_bytes(b"no archive")
    hub.add_repo("ggml-org/ci", folder)
    job.refused(HubError, "does not hold the text it should", "Q4_0", text=None)
    with zipfile.ZipFile(folder / "wikitext-2-raw-v1.zip", "w") as archive:
        archive.writestr("wikitext-2-raw/wiki.test.raw", "another text\n" * 500)
    hub.add_repo("ggml-org/ci", folder)
    job.refused(HubError, "does not hold the text it should", "Q4_0", text=None)
    assert not list((job.library.paths.cache / "texts").glob("*"))


def test_wikitext_is_kept(job: Job, hub: HubServer, tmp_path: Path, material: Path) -> None:
    folder = tmp_path / "ci"
    folder.mkdir()
    with zipfile.ZipFile(folder / "wikitext-2-raw-v1.zip", "w") as archive:
        archive.write(material / "corpora" / "wiki.test.raw", "wikitext-2-raw/wiki.test.raw")
    hub.add_repo("ggml-org/ci", folder)
    kept = wikitext2(job.library.paths, job.events.append, job.cancel)
    assert kept.read_bytes() == (material / "corpora" / "wiki.test.raw").read_bytes()
    asked = len(hub.requests)
    assert wikitext2(job.library.paths, job.events.append, job.cancel) == kept
    assert len(hub.requests) == asked


def test_the_command_line(home: Paths, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", str(models / "Q4_0.gguf"), "--text", str(models / "text.txt")]
    compared = [*arguments, "--against", str(models / "F16.gguf"), "--ctx", "64"]
    assert main([*compared, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["models"][1]["divergence"]["same_top"]["value"] > 0.5
    assert main([*compared, "--until", "99%"]) == 0
    printed = capsys.readouterr()
    assert "Q4_0.gguf against F16.gguf" in printed.out
    assert "KL DIVERGENCE" in printed.out
    assert "reading text.txt" in printed.err
    assert main([*arguments, "--ctx", "64", "--chunks", "2"]) == 0
    alone = capsys.readouterr().out
    assert "Q4_0.gguf" in alone
    assert "KL DIVERGENCE" not in alone
    assert main([*arguments, "--until", "soon"]) == 2
    assert "a number of percent" in capsys.readouterr().err
