"""One loaded model for all who want the same, until the last of them is done with it."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, EngineError, UnsupportedError
from localq.events import JobEvent, Started, ignore
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.services.hosting.host import HostedModel, ModelHost
from localq.services.hosting.prepared import PreparedModel, prepare_model
from tests.engine.test_engine import DEMO, make_gguf

SAMPLING = SamplingParams(max_tokens=4, temperature=0.0)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


@pytest.fixture
def prepared(home: Paths, story: Path) -> PreparedModel:
    return prepare_model(Library(home), str(story), PlanOptions(n_ctx=128, n_threads=1))


def reply(hosted: HostedModel) -> str:
    return hosted.generate("Once upon a time", SAMPLING, on_text=lambda _: None).text


def pid(hosted: HostedModel) -> int | None:
    return hosted._engine.pid


def test_who_wants_the_same_shares_it(home: Paths, prepared: PreparedModel) -> None:
    host = ModelHost(Library(home))
    events: list[JobEvent] = []
    with host.open(prepared, emit=events.append) as first:
        with host.open(prepared, emit=events.append) as second:
            assert pid(first) == pid(second)
            assert reply(first) == reply(second)
            with host.open(replace(prepared, settings=replace(prepared.settings, n_ctx=64))) as own:
                assert pid(own) not in (None, pid(first))
                assert (own.loaded.n_ctx, first.loaded.n_ctx) == (64, 128)
        second.close()  # more than once is as good
        assert reply(first)
        assert events == [Started(f"loading {prepared.model.name}")]
    assert pid(first) is None
    with pytest.raises(EngineError, match="no model"):
        reply(first)


def test_a_process_that_died_is_replaced(home: Paths, prepared: PreparedModel) -> None:
    host = ModelHost(Library(home))
    with host.open(prepared) as first:
        dead = pid(first)
        assert dead is not None
        os.kill(dead, getattr(signal, "SIGKILL", signal.SIGTERM))
        with pytest.raises(EngineError):
            reply(first)
        with host.open(prepared) as second:
            assert pid(second) not in (None, dead)
            assert reply(second) == reply(first)


def test_many_at_once_load_it_once(home: Paths, prepared: PreparedModel) -> None:
    host = ModelHost(Library(home))
    events: list[JobEvent] = []
    replies: list[str] = []
    together = threading.Barrier(4)

    def use() -> None:
        with host.open(prepared, emit=events.append) as hosted:
            together.wait(60)
            replies.append(reply(hosted))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(replies) == 4
    assert len(set(replies)) == 1
    assert len(events) == 1


def test_who_gave_up_leaves_nothing(home: Paths, prepared: PreparedModel) -> None:
    host = ModelHost(Library(home))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        host.open(prepared, cancel=cancel)
    broken = replace(prepared, settings=replace(prepared.settings, path=Path("missing.gguf")))
    with pytest.raises(EngineError):
        host.open(broken)
    assert host._places == {}
    with host.open(prepared) as hosted:
        assert reply(hosted)


def test_what_cannot_be_told_loads_only_by_force(
    home: Paths, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedError("of a kind that is not known")

    monkeypatch.setattr("localq.services.hosting.prepared.plan_gguf", refuse)
    with pytest.raises(UnsupportedError, match="not known") as caught:
        prepare_model(Library(home), str(story))
    assert caught.value.hint == "--force lets the engine try"
    forced = prepare_model(Library(home), str(story), PlanOptions(n_ctx=64), force=True)
    assert forced.plan is None
    with ModelHost(Library(home)).open(forced, emit=ignore) as hosted:
        assert hosted.loaded.n_ctx == 64
