"""Importance matrices made through the engine, beside numbers of llama-imatrix."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.cli.main import main
from localq.engine.client import Engine, LoadSettings
from localq.errors import (
    Cancelled,
    EngineError,
    LibraryError,
    LocalqError,
    NotFoundError,
    StorageError,
    UsageError,
)
from localq.events import JobEvent, Note, Progress, Unit
from localq.formats.gguf import read_gguf
from localq.library import Library
from localq.paths import Paths
from localq.quantize.imatrix import read_imatrix
from localq.services.make.imatrix import ImatrixRequest, ImatrixResult, make_imatrix
from tests.imatrix_models import EXPERTS, summarize, write_dense, write_experts

REFERENCE: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "imatrix.json").read_text(encoding="utf-8")
)
CHUNK: int = REFERENCE["chunk"]
TOLERANCE = 1e-4  # another processor adds in another order; on the same one nothing differs


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dense.gguf, experts.gguf and text.txt."""
    folder = tmp_path_factory.mktemp("models")
    write_experts(write_dense(folder))
    (folder / "text.txt").write_text(REFERENCE["text"], encoding="utf-8")
    return folder


class Job:
    """Makes matrices in a folder of its own."""

    def __init__(self, home: Paths, models: Path, folder: Path) -> None:
        self.library = Library(home)
        self.models = models
        self.folder = folder
        self.output = folder / "out.gguf"
        self.events: list[JobEvent] = []
        self.cancel = threading.Event()

    def run(self, model: str = "dense", text: Path | None = None, **more: Any) -> ImatrixResult:
        settings: dict[str, Any] = {"output": self.output, "n_ctx": CHUNK, **more}
        request = ImatrixRequest(
            text or self.models / "text.txt", str(self.models / f"{model}.gguf"), **settings
        )
        return make_imatrix(self.library, request, self.events.append, self.cancel)

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note) and event.warning]

    def refused(self, kind: type[LocalqError], match: str, **more: Any) -> LocalqError:
        """The job fails and leaves nothing behind; its error."""
        before = sorted(self.folder.iterdir())
        with pytest.raises(kind, match=match) as caught:
            self.run(**more)
        assert sorted(self.folder.iterdir()) == before
        return caught.value


@pytest.fixture
def job(home: Paths, models: Path, tmp_path: Path) -> Job:
    folder = tmp_path / "work"
    folder.mkdir()
    return Job(home, models, folder)


@pytest.mark.parametrize("model", ["dense", "experts"])
def test_the_sums_are_those_of_llama_imatrix(job: Job, model: str) -> None:
    result = job.run(model)
    expected = REFERENCE["models"][model]
    found = summarize(result.path)
    assert list(found) == list(expected)
    for name in found:
        assert found[name] == pytest.approx(expected[name], rel=TOLERANCE), name
    metadata = read_gguf(result.path).metadata
    assert metadata["imatrix.chunk_count"] == REFERENCE["chunks"] == result.chunks
    assert metadata["imatrix.chunk_size"] == CHUNK
    assert result.tokens == result.chunks * CHUNK
    assert result.size_bytes == result.path.stat().st_size


def test_the_file_is_one_that_quantize_reads(job: Job) -> None:
    result = job.run("experts", chunks=1)
    imatrix = read_imatrix(result.path)
    assert len(imatrix.entries) == result.entries
    assert (imatrix.dataset, imatrix.chunks) == (result.dataset, result.chunks)
    model = {tensor.name: tensor.shape for tensor in read_gguf(job.models / "experts.gguf").tensors}
    for name, values in imatrix.entries.items():
        experts = EXPERTS if "_exps" in name else 1
        assert values.size == model[name][0] * experts
        assert np.isfinite(values).all()


def test_progress_is_counted_in_tokens(job: Job) -> None:
    job.run(chunks=3)
    steps = [event for event in job.events if isinstance(event, Progress)]
    assert [(step.done, step.total) for step in steps] == [
        (done * CHUNK, 3 * CHUNK) for done in range(4)
    ]
    assert {step.unit for step in steps} == {Unit.TOKENS}


def test_an_expert_that_no_token_chose_is_reported(job: Job) -> None:
    text = job.folder / "text.txt"
    text.write_text("the " * 50)
    few = job.run("experts", text, n_ctx=16, chunks=1)
    counts = [
        struct.unpack_from(f"<{EXPERTS}f", few.path.read_bytes(), tensor.offset)
        for tensor in read_gguf(few.path).tensors
        if tensor.name.endswith("_exps.weight.counts")
    ]
    partly = sum(0 in each for each in counts)
    assert partly > 0
    assert job.warnings == [
        f"in {partly} of {few.entries} tensors there are experts that the text did not reach;"
        " more text, or more varied text, would"
    ]


def test_cancelled_between_chunks(job: Job) -> None:
    def emit(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done == CHUNK:
            job.cancel.set()

    request = ImatrixRequest(
        job.models / "text.txt", str(job.models / "dense.gguf"), job.output, n_ctx=CHUNK
    )
    with pytest.raises(Cancelled):
        make_imatrix(job.library, request, emit, job.cancel)
    assert not list(job.folder.iterdir())


def test_cancelled_within_a_chunk(models: Path, tmp_path: Path) -> None:
    cancel = threading.Event()
    with Engine(log=tmp_path / "engine.log") as engine:
        engine.load(LoadSettings(models / "dense.gguf", n_ctx=1 << 14, n_batch=2048))
        tokens = [300] * (1 << 14)
        timer = threading.Timer(0.2, cancel.set)
        timer.start()
        try:
            with pytest.raises(Cancelled):
                engine.observe(tokens, cancel=cancel)
        finally:
            timer.cancel()
        assert engine.tokenize("Once")  # it is there for the next request


def test_what_the_engine_refuses(models: Path, tmp_path: Path) -> None:
    with Engine(log=tmp_path / "engine.log") as engine:
        engine.load(LoadSettings(models / "dense.gguf", n_ctx=32))
        with pytest.raises(EngineError, match="nothing has been observed"):
            engine.save_activations(tmp_path / "sums")
        with pytest.raises(EngineError, match="33 tokens long"):
            engine.observe([1] * 33)
        engine.observe([1] * 32)
        with pytest.raises(StorageError, match="cannot be written"):
            engine.save_activations(tmp_path / "nowhere" / "sums")
        engine.load(LoadSettings(models / "dense.gguf", n_ctx=32))
        with pytest.raises(EngineError, match="nothing has been observed"):
            engine.save_activations(tmp_path / "sums")


def test_a_damaged_model(job: Job, tmp_path: Path) -> None:
    data = bytearray((job.models / "dense.gguf").read_bytes())
    tensors = read_gguf(job.models / "dense.gguf").tensors
    norm = next(t for t in tensors if t.name == "blk.1.attn_norm.weight")
    struct.pack_into("<f", data, norm.offset, float("nan"))
    job.models = tmp_path / "damaged"
    job.models.mkdir()
    (job.models / "dense.gguf").write_bytes(data)
    (job.models / "text.txt").write_text(REFERENCE["text"], encoding="utf-8")
    job.refused(EngineError, "blk.1.attn_q.weight met NaN or infinity")


def test_a_text_that_is_too_short_or_not_there(job: Job) -> None:
    text = job.folder / "short.txt"
    text.write_text("Once upon a time")
    job.refused(UsageError, "short.txt: .* tokens, but one chunk takes 64", text=text)
    job.refused(NotFoundError, "no such text file", text=job.folder / "none.txt")
    job.refused(NotFoundError, "no such text file", text=job.folder)
    with (job.folder / "long.txt").open("wb") as file:
        file.truncate(1 << 30)
    job.refused(UsageError, "are more than needed", text=job.folder / "long.txt")


def test_numbers_that_make_no_sense(job: Job) -> None:
    job.refused(UsageError, "it must have 16", n_ctx=15)
    job.refused(UsageError, "it must be at least 1", chunks=0)


def test_where_the_file_may_go(job: Job) -> None:
    job.output.write_text("mine")
    job.refused(LibraryError, "is there already")
    assert job.output.read_text() == "mine"
    job.refused(StorageError, "no such folder", output=job.folder / "none" / "i.gguf")
    job.refused(UsageError, r"must be named \*\.gguf", output=job.folder / "i.dat")
    inside = job.library.paths.models / "i.gguf"
    inside.parent.mkdir(parents=True)
    job.refused(UsageError, "inside localq's own library", output=inside)
    for force in (False, True):
        error = job.refused(
            LibraryError,
            "dense.gguf: is the model itself",
            output=job.models / "dense.gguf",
            force=force,
        )
        assert error.hint == "choose another file with -o"
    job.run(force=True, chunks=1)
    assert read_imatrix(job.output).chunks == 1


def test_a_quantized_model_is_measured_with_a_warning(
    home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(REFERENCE["text"], encoding="utf-8")
    assert main(["pull", "demo"]) == 0
    assert main(["quantize", "q4_0"]) == 0
    capsys.readouterr()
    arguments = ["imatrix", "--text", "text.txt", "--ctx", str(CHUNK)]
    assert main([*arguments, "--chunks", "2", "--json"]) == 0
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert shown["path"] == str(tmp_path / "stories260K-Q4_0-imatrix.gguf")
    assert (shown["chunks"], shown["dataset"]) == (2, "text.txt")
    assert "is quantized already" in said.err
    assert main([*arguments, "--chunks", "1", "--force"]) == 0
    assert capsys.readouterr().out == f"{shown['path']}\n"
    assert main(arguments) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_engine_tells_nobody_else(models: Path, home: Paths, tmp_path: Path) -> None:
    """A model that was observed answers the other requests as before."""
    output = tmp_path / "logits"
    with Engine(log=tmp_path / "engine.log") as engine:
        engine.load(LoadSettings(models / "dense.gguf", n_ctx=32))
        engine.logits(range(1, 33), output)
        before = output.read_bytes()
        engine.observe(range(1, 33))
        engine.logits(range(1, 33), output)
    assert output.read_bytes() == before
