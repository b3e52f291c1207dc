"""Who has loaded what on this machine: records that count, and those that are dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.cli.main import main
from localq.errors import EngineError, NotFoundError, UsageError
from localq.hardware.processes import process_start
from localq.json_codec import to_json
from localq.paths import Paths
from localq.services.hosting.registry import StopRequest, WorkerRecord, WorkerRegistry
from localq.services.hosting.settings import HostingSettings, hosting_settings
from localq.services.hosting.stop import registry_of, stop_models

Capture = pytest.CaptureFixture[str]
HOLDER = """
import sys
from pathlib import Path
from localq.json_codec import from_json
from localq.services.hosting.registry import WorkerRecord, WorkerRegistry
import json
registry = WorkerRegistry(Path(sys.argv[1]))
record = from_json(WorkerRecord, json.loads(sys.argv[2]))
from dataclasses import replace
registry.write(replace(record, id=registry.new_id()))
print("held", flush=True)
sys.stdin.read()
"""


def record(registry: WorkerRegistry, **changes: object) -> WorkerRecord:
    given = WorkerRecord(
        id=registry.new_id(),
        model="Org/Model:Q4_0",
        path="/models/a.gguf",
        owner="serve",
        owner_pid=os.getpid(),
        state="idle",
        since=1e9,
        n_ctx=4096,
        devices=("host", "CUDA0"),
        memory=(3_000_000_000, 1_000_000_000),
        mapped=2_000_000_000,
        unload_at=4e9,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


@contextmanager
def other_program(folder: Path, worker: WorkerRecord) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has a worker, and answers nobody."""
    command = [sys.executable, "-c", HOLDER, str(folder), json.dumps(to_json(worker))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_record_counts_as_long_as_its_program_lives(tmp_path: Path) -> None:
    registry = WorkerRegistry(tmp_path)
    assert registry.records() == ()
    with other_program(tmp_path, record(registry)) as process:
        [seen] = registry.records(others=True)
        assert (seen.model, seen.footprint) == (
            "Org/Model:Q4_0",
            {"host": 3_000_000_000, "CUDA0": 1_000_000_000},
        )
        assert not seen.tenant().ours
        assert seen.tenant().idle_since == 1e9
        process.kill()
        process.wait(60)
        assert registry.records() == ()
    assert list(tmp_path.iterdir()) == []  # what the dead left is gone


def test_a_worker_that_is_another_process_by_now_does_not_count(tmp_path: Path) -> None:
    registry = WorkerRegistry(tmp_path)
    start = process_start(os.getpid())
    ours = record(registry, pid=os.getpid(), started=start)
    registry.write(ours)
    assert registry.records() == (ours,)
    registry.write(replace(ours, started=f"{start}1"))  # its number belongs to another one
    assert registry.records() == ()
    registry.write(ours)
    assert registry.records() == (ours,)
    assert registry.records(others=True) == ()
    registry.close()
    assert registry.records() == ()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "model", "memory", "pid", "x"]), inner)
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode())
)
def test_what_is_no_record_is_none(tmp_path: Path, content: bytes) -> None:
    registry = WorkerRegistry(tmp_path)
    good = record(registry)
    registry.write(good)
    odd = tmp_path / f"{good.id.split('.')[0]}.99.json"
    odd.write_bytes(content)
    odd.with_suffix(".stop").write_bytes(content)
    assert registry.records() == (good,)
    request = registry.stop_request(odd.stem)
    assert request is None or not request.force
    registry.close()


@pytest.mark.parametrize(
    "change",
    [
        {"memory": [-1, 0]},
        {"memory": [1]},
        {"memory": [2**60, 0]},
        {"state": "flying"},
        {"pid": "7"},
        {"id": "../../etc/passwd"},
        {"later": 1},
    ],
)
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    registry = WorkerRegistry(tmp_path)
    good = record(registry)
    registry.write(good)
    path = tmp_path / f"{good.id}.json"
    path.write_text(json.dumps({**to_json(good), **change}))
    assert registry.records() == ()
    assert path.exists()  # of another version of localq, perhaps


def test_one_program_at_a_time_decides(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait(60)
        with WorkerRegistry(tmp_path).alone():
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with WorkerRegistry(tmp_path).alone():
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_a_program_that_is_stopped_loses_its_idle_worker_only(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.services.hosting.stop._ANSWER_SECONDS", 0.1)
    registry = registry_of(home)
    folder = home.cache / "workers"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as engine:
        worker = record(registry, pid=engine.pid, started=process_start(engine.pid), state="busy")
        with other_program(folder, worker):
            with pytest.raises(EngineError, match=r"in use just now: Org/Model:Q4_0 \(serve"):
                stop_models(home, ["model"])
            assert engine.poll() is None
            [stopped] = stop_models(home, ["model"], force=True).stopped
            assert stopped.pid == engine.pid
            assert engine.wait(60) == -signal.SIGKILL
            assert registry.records() == ()


def test_names_of_what_to_stop(home: Paths) -> None:
    registry = registry_of(home)
    for name in ("Org/Model:Q4_0", "Org/Model:Q8_0", "Org/Other:Q4_0"):
        registry.write(record(registry, model=name))
    with pytest.raises(NotFoundError, match="no model 'missing' is loaded"):
        stop_models(home, ["missing"])
    with pytest.raises(NotFoundError, match="'Model' may be Org/Model:Q4_0, Org/Model:Q8_0"):
        stop_models(home, ["Model"])
    registry.close()
    assert stop_models(home, [], every=True).stopped == ()


def answer(registry: WorkerRegistry, worker: WorkerRecord, asked: list[StopRequest]) -> None:
    """What the pool of another program does."""
    while (request := registry.stop_request(worker.id)) is None:
        pass
    asked.append(request)
    registry.remove(worker.id)


def test_the_verbs(home: Paths, capsys: Capture) -> None:
    assert main(["ps"]) == 0
    assert main(["ps", "--json"]) == 0
    shown = capsys.readouterr()
    assert (shown.err, shown.out) == ("no model is loaded\n", "[]\n")
    registry = registry_of(home)
    worker = record(registry)
    registry.write(worker)
    registry.write(record(registry, model="crashes", state="set aside", devices=(), memory=()))
    assert main(["ps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "OWNER", "SIZE", "CONTEXT", "STATE", "UNLOADED", "PROCESS"]
    assert "set aside" in lines[1]
    assert "serve  4.0 GB  4,096" in lines[2]
    assert main(["ps", "--json"]) == 0
    [_, found] = json.loads(capsys.readouterr().out)
    assert found["memory"] == {"host": 3_000_000_000, "CUDA0": 1_000_000_000}
    assert found["memory_bytes"] == 4_000_000_000
    asked: list[StopRequest] = []
    thread = threading.Thread(target=answer, args=(registry, worker, asked))
    thread.start()
    assert main(["stop", "q4_0"]) == 0
    thread.join(60)
    assert [request.force for request in asked] == [False]
    assert "unloaded Org/Model:Q4_0, 4.0 GB (serve, process" in capsys.readouterr().out
    assert main(["stop"]) == 2
    assert main(["stop", "--all", "q4_0"]) == 2
    registry.close()


def test_settings(home: Paths) -> None:
    assert hosting_settings(home) == HostingSettings(300.0, None)
    path = home.config / "settings.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[models]\nidle_minutes = 1.5\nmemory_gb = 12\n")
    assert hosting_settings(home) == HostingSettings(90.0, 12_000_000_000)
    path.write_text("[models]\nidle_minutes = -1\n[other]\nx = 1\n")
    assert hosting_settings(home) == HostingSettings(None, None)
    for content in (
        "models = 3",
        "[models]\nidle_minutes = 'long'",
        "[models]\nidle_minutes = true",
        "[models]\nidle_minutes = nan",
        "[models]\nmemory_gb = -4",
        "[models",
        "\udcff",
    ):
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(UsageError, match=r"settings\.toml"):
            hosting_settings(home)
