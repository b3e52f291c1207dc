"""The engine's process: its own side of the pipe, and how its client deals with a bad one."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from localq.engine import process
from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.engine.llama_log import LogTail
from localq.engine.protocol import MAX_LINE
from localq.errors import EngineError
from tests.engine.test_engine import DEMO, LONG_CONTEXT, make_gguf, unheard

ANY_MODEL = LoadSettings(Path("model.gguf"))


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


class RawWorker:
    """The process without its client."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def send(self, line: dict[str, Any] | bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line if isinstance(line, bytes) else json.dumps(line).encode())
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return reply

    def load(self, path: Path) -> None:
        settings = {"path": str(path), "n_ctx": LONG_CONTEXT, "n_threads": 1}
        self.send({"id": 1, "op": "load", "settings": settings})
        assert self.receive()["reply"] == "loaded"

    def generate(self, id_: int) -> None:
        sampling = {"max_tokens": 10**6, "temperature": 0}
        self.send({"id": id_, "op": "generate", "prompt": "Once", "sampling": sampling})


@contextmanager
def raw_worker(log: Path) -> Iterator[RawWorker]:
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "localq.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        ) as popen,
    ):
        try:
            yield RawWorker(popen)
        finally:
            popen.kill()


def test_the_worker_answers_what_it_does_not_understand(tmp_path: Path) -> None:
    with raw_worker(tmp_path / "log") as worker:
        worker.send(b"hello")
        assert worker.receive() == {
            **{"id": None, "reply": "failed", "kind": "protocol", "hint": None},
            "message": "not a JSON object: hello",
        }
        worker.send({"id": 3, "op": "explode"})
        reply = worker.receive()
        assert (reply["id"], reply["kind"]) == (3, "protocol")
        assert "unknown op 'explode'" in reply["message"]
        worker.send(b'{"id": 4, "op": "tokenize", "text": "' + b"x" * MAX_LINE + b'"}')
        reply = worker.receive()
        assert (reply["id"], reply["kind"]) == (None, "protocol")
        assert "a line of more than" in reply["message"]
        worker.send({"id": 5, "op": "tokenize", "text": "x"})
        reply = worker.receive()
        assert (reply["id"], reply["message"]) == (5, "no model is loaded")
        worker.send({"id": 6, "op": "cancel", "target": 99})
        assert worker.receive() == {"id": 6, "reply": "done"}
        worker.send({"id": 7, "op": "shutdown"})
        assert worker.receive() == {"id": 7, "reply": "done"}
        assert worker.process.wait(60) == 0


def test_requests_wait_their_turn_and_can_be_cancelled(story_gguf: Path, tmp_path: Path) -> None:
    with raw_worker(tmp_path / "log") as worker:
        worker.load(story_gguf)
        worker.generate(2)
        worker.generate(3)
        assert worker.receive()["reply"] == "piece"
        worker.generate(2)
        worker.send({"id": 4, "op": "cancel", "target": 3})
        worker.send({"id": 5, "op": "cancel", "target": 2})
        finals: list[dict[str, Any]] = []
        while len(finals) < 5:
            if (reply := worker.receive())["reply"] != "piece":
                finals.append(reply)
        told = [(reply["id"], reply["reply"]) for reply in finals]
        assert told[0] == (2, "failed")
        assert "still being done" in finals[0]["message"]
        assert sorted(told[1:]) == [
            *((2, "generated"), (3, "generated")),
            *((4, "done"), (5, "done")),
        ]
        stopped = [reply for reply in finals if reply["reply"] == "generated"]
        assert [reply["stop"] for reply in stopped] == ["cancelled", "cancelled"]
        assert next(r for r in stopped if r["id"] == 3)["generated_tokens"] == 0


def test_the_worker_ends_with_its_client(story_gguf: Path, tmp_path: Path) -> None:
    with raw_worker(tmp_path / "log") as worker:
        worker.load(story_gguf)
        worker.generate(2)
        assert worker.receive()["reply"] == "piece"
        assert worker.process.stdin
        worker.process.stdin.close()
        assert worker.process.wait(60) == 0


def test_the_worker_ends_when_nobody_listens(story_gguf: Path, tmp_path: Path) -> None:
    with raw_worker(tmp_path / "log") as worker:
        worker.load(story_gguf)
        worker.generate(2)
        assert worker.process.stdout
        worker.process.stdout.close()
        assert worker.process.wait(60) == 0


def pretend(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the engine be another Python program."""

    def start(log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )

    monkeypatch.setattr(process, "_start", start)


def test_an_engine_that_talks_nonsense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, "print('Hello!', flush=True); input()")
    with (
        Engine(log=tmp_path / "log") as engine,
        pytest.raises(EngineError, match=r"not its protocol while loading model\.gguf.*Hello!"),
    ):
        engine.load(ANY_MODEL)


def test_an_engine_that_gives_the_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, """input(); print('{"id": 1, "reply": "done"}', flush=True); input()""")
    with Engine() as engine, pytest.raises(EngineError, match="answered Done while loading"):
        engine.load(ANY_MODEL)


def test_an_engine_that_ends_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, "import sys; input(); sys.exit('no more\\nno space left')")
    log = tmp_path / "log"
    with Engine(log=log) as engine, pytest.raises(EngineError, match="exit code 1") as caught:
        engine.load(ANY_MODEL)
    assert caught.value.hint == f"its log is {log}; it ends with: no space left"


@pytest.mark.skipif(sys.platform == "win32", reason="terminate is kill there")
def test_an_engine_that_does_not_want_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        monkeypatch,
        """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
input()
print('{"id": 1, "reply": "failed", "message": "not today"}', flush=True)
while True:
    time.sleep(60)
""",
    )
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.1)
    with Engine() as engine:
        with pytest.raises(EngineError, match="not today"):
            engine.load(ANY_MODEL)
        assert engine.pid
    assert engine.pid is None


def test_an_engine_that_ignores_cancel_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        monkeypatch,
        """
import time
input()
print('{"id": 1, "reply": "loaded", "n_ctx": 1, "n_ctx_train": 1, "n_vocab": 1,'
      ' "n_threads": 1, "description": "", "load_seconds": 0}', flush=True)
input()
print('{"id": 2, "reply": "piece", "text": "x"}', flush=True)
while True:
    time.sleep(60)
""",
    )
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.1)

    def on_text(text: str) -> None:
        raise KeyboardInterrupt

    with Engine() as engine:
        engine.load(ANY_MODEL)
        with pytest.raises(KeyboardInterrupt):
            engine.generate("Once", SamplingParams(), on_text=on_text)
        with pytest.raises(EngineError, match="stopped unexpectedly"):
            engine.generate("Once", SamplingParams(), on_text=unheard)


def test_without_llama_cpp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(
        monkeypatch,
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from localq.engine.worker import main; main()",
    )
    with Engine() as engine, pytest.raises(EngineError, match="not installed") as caught:
        engine.load(ANY_MODEL)
    assert "localq hardware" in (caught.value.hint or "")  # which knows the right command


def test_a_defect_in_the_engine_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(
        monkeypatch,
        "from localq.engine import worker\nworker.llama_cpp = lambda: 1 / 0\nworker.main()",
    )
    log = tmp_path / "log"
    with Engine(log=log) as engine, pytest.raises(EngineError, match="defect: ZeroDivisionError"):
        engine.load(ANY_MODEL)
    assert "Traceback" in log.read_text()


def test_an_engine_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with Engine() as engine, pytest.raises(EngineError, match="cannot be started"):
        engine.load(ANY_MODEL)


def test_a_request_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "input()")
    monkeypatch.setattr(process, "MAX_LINE", 100)
    with Engine() as engine, pytest.raises(EngineError, match="too long for the engine"):
        engine.load(ANY_MODEL)


def test_a_large_log_makes_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, "input()")
    log = tmp_path / "log"
    log.write_bytes(b"old\n" * 2_000_000)
    for _ in range(2):
        with Engine(log=log) as engine, pytest.raises(EngineError):
            engine.load(ANY_MODEL)
    assert log.read_text().count("--- engine started") == 2
    assert (tmp_path / "log.1").read_bytes().startswith(b"old\n")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """It goes elsewhere, and says so."""
    (tmp_path / "file").touch()
    with Engine(log=tmp_path / "file" / "log") as engine:
        with pytest.raises(EngineError, match="model"):
            engine.load(ANY_MODEL)
        assert "log" in str(engine.log_problem)


def test_calls_from_several_threads_take_turns(story_gguf: Path) -> None:
    sampling = SamplingParams(max_tokens=20, temperature=0)
    texts: list[str] = []
    with Engine() as engine:
        engine.load(LoadSettings(story_gguf, n_threads=1))

        def generate() -> None:
            texts.append(engine.generate("Once", sampling, on_text=unheard).text)

        threads = [threading.Thread(target=generate) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 4
    assert len(set(texts)) == 1


def test_a_log_that_runs_full_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from llama.cpp's lines, memory and reasons, does not need them to be kept."""

    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    api = SimpleNamespace(llama_log_callback=lambda line: line, llama_log_set=lambda *_: None)
    tail = LogTail(api)
    monkeypatch.setattr(sys, "stderr", Full())
    with tail.recorded() as lines:
        tail.callback(4, b"llama_model_load: no such tensor\n", None)
    assert lines == ["llama_model_load: no such tensor\n"]
    assert tail.reason("unknown") == "no such tensor"
