"""Measuring, evaluating and the like: seen, counted and stopped like the models of a pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.errors import EngineClosed, EngineError, LocalqError
from localq.events import JobEvent, Note, Progress, ignore
from localq.library import Library
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.prepared import prepare_model
from localq.services.hosting.stop import loaded_models, stop_models
from localq.services.make.imatrix import ImatrixRequest, make_imatrix
from localq.services.measure.bench import BenchRequest, bench
from localq.services.measure.tune import TuneRequest, tune
from localq.services.quality.evaluate import EvaluateRequest, evaluate
from tests.engine.test_engine import DEMO, make_gguf

LONG = PlanOptions(n_ctx=4096, n_threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("model"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Once upon a time there was a little girl. " * 400)
    return path


class Begun:
    """Set once something was measured, so that its record is there."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.notes: list[str] = []

    def __call__(self, event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done:
            self.event.set()
        if isinstance(event, Note):
            self.notes.append(event.text)


@contextmanager
def working(work: Callable[[Begun, threading.Event], object]) -> Iterator[list[object]]:
    """Runs beside the block, which begins once it is at work; cancelled behind the block. What it
    raised is there then."""
    begun, cancel = Begun(), threading.Event()
    raised: list[object] = []

    def run() -> None:
        try:
            work(begun, cancel)
        except LocalqError as error:
            raised.append(error)
        finally:
            begun.event.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.event.wait(60)
        yield raised
    finally:
        cancel.set()
        thread.join()


def measured(library: Library, model: Path) -> Callable[[Begun, threading.Event], object]:
    request = BenchRequest(str(model), n_prompt=16, n_generate=2000, repetitions=90)
    return lambda emit, cancel: bench(library, request, emit, cancel)


def record_of(library: Library, owner: str):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for record in loaded_models(library.paths):
            if record.owner == owner and record.pid is not None:
                return record
        time.sleep(0.05)
    raise AssertionError(f"{owner} is not there")


def test_others_see_it_and_can_end_it(
    library: Library, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(measured(library, model)) as raised:
        record = record_of(library, "bench")
        assert record.state == "busy"
        assert record.total > model.stat().st_size
        assert main(["ps"]) == 0
        assert "bench" in capsys.readouterr().out
        with pytest.raises(EngineError, match="in use"):
            stop_models(library.paths, [str(record.pid)])
        assert not raised
        (stopped,) = stop_models(library.paths, [str(record.pid)], force=True).stopped
        assert stopped.id == record.id
    (error,) = raised
    assert isinstance(error, EngineClosed)
    assert "was unloaded while it worked, by localq stop" in error.message
    assert loaded_models(library.paths) == ()


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param("tune", marks=pytest.mark.slow),
        "imatrix",
        pytest.param("eval", marks=pytest.mark.slow),
    ],
)
def test_all_kinds_of_work_are_seen(
    library: Library, model: Path, text: Path, tmp_path: Path, owner: str
) -> None:
    works: dict[str, Callable[[Begun, threading.Event], object]] = {
        "tune": lambda emit, cancel: tune(
            library, TuneRequest(str(model), budget=60), emit, cancel
        ),
        "imatrix": lambda emit, cancel: make_imatrix(
            library,
            ImatrixRequest(text, str(model), tmp_path / "i.gguf", n_ctx=16),
            emit,
            cancel,
        ),
        "eval": lambda emit, cancel: evaluate(
            library, EvaluateRequest((str(model),), text=text, n_ctx=64), emit, cancel
        ),
    }
    seen: list[str] = []

    def watched(emit: Begun, cancel: threading.Event) -> object:
        def look(event: JobEvent) -> None:
            if not seen:
                seen.extend(record.owner for record in loaded_models(library.paths))
            emit(event)

        return works[owner](look, cancel)  # type: ignore[arg-type]

    with working(watched) as raised:
        pass
    assert [type(one).__name__ for one in raised] in ([], ["Cancelled"])
    assert seen == [owner]
    assert loaded_models(library.paths) == ()


def limited(library: Library, size: int) -> None:
    folder = library.paths.config
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.toml").write_text(f"[models]\nmemory_gb = {size / 1e9}\n")


def test_who_is_idle_gives_way_and_who_works_does_not(library: Library, model: Path) -> None:
    size = sum(prepare_model(library, str(model), LONG).footprint.values())
    limited(library, round(1.5 * size))
    with ModelPool(library, owner="serve") as pool:
        prepared = pool.prepare(str(model), LONG)
        with pool.open(prepared) as hosted:
            hosted.tokenize("Once")
        begun = Begun()
        with working(lambda emit, cancel: measured(library, model)(emit, cancel)) as raised:
            assert not raised
            record_of(library, "bench")
            assert {record.owner for record in loaded_models(library.paths)} == {"bench"}
            with pytest.raises(EngineError, match=r"does not fit beside .* \(busy, bench\)"):
                pool.open(prepared)
        with pool.open(prepared) as hosted, hosted.in_use():
            hosted.tokenize("Once")
            with pytest.raises(EngineError, match=r"does not fit beside .* \(busy, serve\)"):
                bench(library, BenchRequest(str(model)), begun, threading.Event())
    limited(library, size // 2)
    with pytest.raises(EngineError, match="more than models may take here"):
        bench(library, BenchRequest(str(model)), ignore, threading.Event())
