"""`localq jobs` and `--detach`, with real processes and a Hub on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.jobs import Job, JobState, JobStore
from localq.paths import Paths
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint
from tests.hub_server import HubServer, only_this_hub
from tests.services.test_quantize import DEMO

Capture = pytest.CaptureFixture[str]
_CONFIG = {**SMOLLM2_CONFIG, "vocab_size": 512}
_PATIENCE = 60.0


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serves org/model, of 2.5 MB, as slowly as a test wants."""
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        folder = write_llama_checkpoint(
            tmp_path / "made" / "model", config=_CONFIG, tokenizer_from=DEMO
        )
        server.add_repo("org/model", folder)
        yield server


@pytest.fixture
def store(home: Paths) -> JobStore:
    return JobStore(home)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "localq", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def state(store: JobStore, wanted: JobState, job_id: int = 1) -> Job:
    """The job, once it is in that state."""

    def look() -> Job | None:
        job = next((job for job in store.jobs() if job.id == job_id), None)
        return job if job is not None and job.state is wanted else None

    found: Job = until(look)
    return found


def downloading(store: JobStore) -> Job:
    """Job 1, once a part of the model has arrived."""
    found: Job = until(lambda: next((j for j in store.jobs() if j.progress.done > 0), None))
    assert found.state is JobState.RUNNING
    return found


def models(capsys: Capture) -> list[str]:
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    return [model["name"] for model in json.loads(capsys.readouterr().out)]


def test_a_job_from_detach_to_done(
    hub: HubServer, home: Paths, store: JobStore, capsys: Capture
) -> None:
    hub.rate = 300e3
    assert main(["pull", "org/model", "--detach"]) == 0
    said = capsys.readouterr()
    assert said.out == "1\n"
    assert "localq jobs --watch" in said.err
    job = downloading(store)
    assert job.detached
    assert job.pid != os.getpid()

    # The same is not begun twice, here or in the background.
    for again in (["pull", "org/model"], ["pull", "org/model", "--detach"]):
        assert main(again) == 1
        assert "job 1 does that already: pull org/model" in capsys.readouterr().err
    assert main(["jobs"]) == 0
    assert "running" in capsys.readouterr().out
    assert main(["jobs", "resume", "1"]) == 2
    assert "job 1 is running" in capsys.readouterr().err

    assert main(["jobs", "cancel", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
    assert main(["jobs", "log", "1"]) == 0
    assert "stopped" in capsys.readouterr().out

    hub.rate = None
    served = hub.sent["model.safetensors"]
    assert main(["jobs", "resume", "1", "--detach"]) == 0
    assert state(store, JobState.FINISHED).result == "org/model"
    assert models(capsys) == ["org/model"]
    size = (home.models / "org" / "model" / "model.safetensors").stat().st_size
    assert hub.sent["model.safetensors"] - served < size  # it went on where it was


def test_a_killed_job_is_resumed_in_another_folder(
    hub: HubServer, home: Paths, store: JobStore, capsys: Capture, tmp_path: Path
) -> None:
    hub.rate = 300e3
    with start("pull", "org/model") as process:
        downloading(store)
        process.kill()
        process.wait()
    assert main(["jobs"]) == 0
    said = capsys.readouterr()
    assert "interrupted" in said.out
    assert "go on with: localq jobs resume 1" in said.err
    hub.rate = None
    assert main(["jobs", "resume", "1"]) == 0
    assert capsys.readouterr().out == "org/model\n"
    assert store.job(1).state is JobState.FINISHED
    assert main(["jobs", "resume", "1"]) == 2
    assert main(["jobs", "clear"]) == 0
    assert store.jobs() == []


def test_the_same_command_ends_an_interrupted_job(hub: HubServer, store: JobStore) -> None:
    hub.rate = 300e3
    with start("pull", "org/model") as process:
        downloading(store)
        process.kill()
    hub.rate = None
    assert main(["pull", "org/model"]) == 0
    assert [(job.id, job.state) for job in store.jobs()] == [(1, JobState.FINISHED)]


def test_retry_begins_anew(hub: HubServer, home: Paths, store: JobStore, capsys: Capture) -> None:
    hub.rate = 300e3
    with start("pull", "org/model") as process:
        downloading(store)
        process.kill()
    hub.rate = None
    hub.sent.clear()
    assert main(["jobs", "retry", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "org/model"
    size = (home.models / "org" / "model" / "model.safetensors").stat().st_size
    assert hub.sent["model.safetensors"] >= size


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "after"),
    [("SIGINT", JobState.CANCELLED), ("SIGTERM", JobState.INTERRUPTED)],
)
def test_ctrl_c_cancels_and_a_shutdown_interrupts(
    hub: HubServer, store: JobStore, number: str, after: JobState
) -> None:
    hub.rate = 300e3
    with start("pull", "org/model") as process:
        downloading(store)
        process.send_signal(getattr(signal, number))
        _, said = process.communicate()
    assert process.returncode == 130
    assert "localq jobs resume 1" in said
    assert store.job(1).state is after


def test_quantize_in_the_background(
    home: Paths, store: JobStore, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quantize", "q8_0", str(DEMO), "-o", "out.gguf", "--detach", "--json"]) == 0
    queued = json.loads(capsys.readouterr().out)
    assert queued["title"] == "quantize stories260K to Q8_0"
    assert queued["request"]["output"] == str(tmp_path / "out.gguf")
    job = state(store, JobState.FINISHED)
    assert job.result == str(tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").is_file()


def test_what_cannot_go_well_is_refused_before_it_is_in_the_background(
    home: Paths, store: JobStore, capsys: Capture
) -> None:
    assert main(["quantize", "q4_0", "no/such", "--detach"]) == 1
    assert "no/such" in capsys.readouterr().err
    assert main(["pull", "not a name", "--detach"]) == 2
    assert main(["quantize", "q4_0", str(DEMO), "--with", "llama.cpp", "--detach"]) == 2
    said = capsys.readouterr().err
    assert "cannot ask" in said
    assert "--yes" in said
    assert store.jobs() == []


def test_a_failure_is_told_and_kept(hub: HubServer, store: JobStore, capsys: Capture) -> None:
    assert main(["pull", "org/nothing", "--detach"]) in (0, 1)  # it may fail at once
    job = state(store, JobState.FAILED)
    assert job.error is not None
    assert "org/nothing" in job.error
    capsys.readouterr()
    assert main(["jobs"]) == 0
    said = capsys.readouterr()
    assert f"job 1 failed: {job.error}" in said.err
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "failed"


def test_a_process_that_never_comes(
    home: Paths, store: JobStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.services.jobs.detach.sys.executable", "/no/such/python")
    assert main(["quantize", "q4_0", str(DEMO), "--detach"]) == 1
    assert "No such file" in capsys.readouterr().err
    assert store.job(1).state is JobState.FAILED
    monkeypatch.undo()
    monkeypatch.setenv("LOCALQ_HOME", str(home.data.parent))
    monkeypatch.setenv("PYTHONPATH", str(home.data.parent / "stubs"))
    (home.data.parent / "stubs").mkdir()
    (home.data.parent / "stubs" / "click.py").write_text("raise ImportError('no click today')")
    assert main(["quantize", "q4_0", str(DEMO), "--detach"]) == 1
    assert "did not start: ImportError: no click today" in capsys.readouterr().err
    assert store.job(1).state is JobState.FAILED


def test_no_jobs(home: Paths, capsys: Capture) -> None:
    assert main(["jobs"]) == 0
    assert capsys.readouterr().err.startswith("no jobs")
    assert main(["jobs", "--json", "--watch"]) == 0
    assert capsys.readouterr().out == "[]\n"
    for verb in ("cancel", "resume", "retry", "log", "clear"):
        assert main(["jobs", verb, "7"]) == 1
        assert "no job 7" in capsys.readouterr().err


def test_watch_waits(hub: HubServer, store: JobStore, capsys: Capture) -> None:
    hub.rate = 4e6
    assert main(["pull", "org/model", "--detach"]) == 0
    capsys.readouterr()
    assert main(["jobs", "--watch"]) == 0
    assert "finished" in capsys.readouterr().out
    assert store.job(1).state is JobState.FINISHED
