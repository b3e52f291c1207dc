"""The engine asked for its devices, the disk measured, and the verb that shows it all."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.engine.devices import (
    EngineDevice,
    EngineReport,
    ask_engine,
    decode_report,
    engine_version,
)
from localq.errors import Cancelled, EngineError, StorageError
from localq.events import JobEvent, Progress, ignore
from localq.hardware.disk import disk_space, measure_disk
from localq.hardware.profile import Device
from localq.paths import Paths
from localq.services.machine import hardware as service
from localq.services.machine.hardware import HardwareRequest, engine_facts, inspect_hardware

GPU = EngineDevice("CUDA0", "NVIDIA L4", "CUDA", "gpu", 24 << 30, 23 << 30)
REPORT = EngineReport(("CUDA", "CPU"), ("AVX2",), True, (GPU,))


def says(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"print({text!r}, end='')")


def as_json(report: EngineReport) -> str:
    devices = [
        {name: getattr(device, name) for name in EngineDevice.__slots__}
        for device in report.devices
    ]
    return json.dumps(
        {
            "backends": report.backends,
            "cpu_features": report.cpu_features,
            "supports_gpu_offload": report.supports_gpu_offload,
            "devices": devices,
        }
    )


def test_the_installed_engine_answers() -> None:
    report = ask_engine()
    assert "CPU" in report.backends
    (cpu,) = [device for device in report.devices if device.kind == "cpu"]
    assert cpu.total_bytes > 0
    assert report.cpu_features
    assert engine_version()


def test_a_report_arrives_as_it_was() -> None:
    assert ask_engine(command=says(as_json(REPORT))) == REPORT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "nonsense"),
        ("[]", "no devices"),
        ('{"error": "llama.cpp cannot be loaded: no such file"}', "no such file"),
        (as_json(REPORT).replace("24", "-24", 1), "nonsense"),
        (as_json(REPORT).replace('"gpu"', '"toaster"'), "kind"),
        (as_json(REPORT).replace('"cpu_features"', '"features"'), "unknown field"),
        ("[" * 100_000, "nonsense"),
        ('{"devices": []}' + " " * (1 << 20), "too long"),
    ],
)
def test_nonsense_is_refused(answer: str, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        decode_report(answer.encode())


def test_free_memory_is_at_most_all() -> None:
    liar = EngineDevice("X0", "X", "X", "gpu", 5, 6)
    with pytest.raises(EngineError, match="memory"):
        decode_report(as_json(EngineReport((), (), True, (liar,))).encode())


def test_a_crash_is_an_error_and_nothing_else() -> None:
    crashes = (sys.executable, "-c", "import os; print('{'); os.abort()")
    with pytest.raises(EngineError, match="crashed"):
        ask_engine(command=crashes)
    with pytest.raises(EngineError, match="cannot be started"):
        ask_engine(command=("/is/not/there",))


def test_a_driver_that_hangs_is_not_waited_for() -> None:
    started = time.monotonic()
    with pytest.raises(EngineError, match="within"):
        ask_engine(0.3, command=(sys.executable, "-c", "import time; time.sleep(600)"))
    assert time.monotonic() - started < 300


def test_unknown_memory_is_none() -> None:
    blas = EngineDevice("BLAS", "OpenBLAS", "BLAS", "accel", 0, 0)
    build, devices = engine_facts(EngineReport(("BLAS",), (), False, (GPU, blas)), "1")
    assert devices == (
        Device("CUDA0", "NVIDIA L4", "CUDA", "gpu", 24 << 30, 23 << 30, unified=False),
        Device("BLAS", "OpenBLAS", "BLAS", "accel", None, None, unified=False),
    )
    assert build.supports_gpu_offload is False


@pytest.fixture
def broken_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> EngineReport:
        raise EngineError("the engine crashed when it was asked what it can run on")

    monkeypatch.setattr(service, "ask_engine", fail)


@pytest.mark.usefixtures("broken_engine")
def test_a_broken_engine_is_a_note(home: Paths) -> None:
    profile = inspect_hardware(home, HardwareRequest(), ignore, threading.Event())
    assert profile.engine is None
    assert profile.devices == ()
    assert profile.cpu.threads >= 1
    assert profile.notes[0].text.startswith("the engine crashed")
    assert "pip install" in str(profile.notes[0].command)


def test_a_cancel_does_not_wait_for_the_engine(
    home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang() -> EngineReport:
        released.wait(60)
        return REPORT

    monkeypatch.setattr(service, "ask_engine", hang)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        inspect_hardware(home, HardwareRequest(), ignore, cancel)
    released.set()


def test_a_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    disk = measure_disk(
        tmp_path / "new",
        cancel=threading.Event(),
        on_progress=lambda done, total: seen.append((done, total)),
        size=9 << 20,
    )
    assert disk.write_bytes_per_second is not None
    assert disk.write_bytes_per_second > 0
    if sys.platform in ("linux", "darwin"):
        assert disk.read_bytes_per_second is not None
        assert disk.read_bytes_per_second > 0
        assert seen[-1] == (18 << 20, 18 << 20)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_cancelled_measurement_leaves_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()

    def stop(done: int, total: int) -> None:
        cancel.set()

    with pytest.raises(Cancelled):
        measure_disk(tmp_path, cancel=cancel, on_progress=stop, size=9 << 20)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_measured(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(StorageError):
        measure_disk(in_the_way, cancel=threading.Event(), on_progress=lambda *_: None)
    with pytest.raises(StorageError, match="no room"):
        measure_disk(tmp_path, cancel=threading.Event(), on_progress=lambda *_: None, size=1 << 60)
    assert disk_space(tmp_path / "a" / "b").free_bytes


@pytest.mark.usefixtures("broken_engine")
def test_a_failed_measurement_is_a_note(home: Paths) -> None:
    home.data.mkdir(parents=True)
    home.partial.write_text("in the way")
    events: list[JobEvent] = []
    request = HardwareRequest(measure_disk=True)
    profile = inspect_hardware(home, request, events.append, threading.Event())
    assert str(home.partial) in profile.notes[-1].text
    assert profile.disk is not None
    assert profile.disk.write_bytes_per_second is None
    assert not any(isinstance(event, Progress) for event in events)


def test_the_verb(home: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware"]) == 0
    shown = capfd.readouterr().out
    for label in ("machine", "processor", "  threads", "memory", "engine", "quantizing", "disk"):
        assert f"\n{label} " in f"\n{shown}"
    assert f"llama-cpp-python {engine_version()}, built for" in shown
    assert not home.data.exists()


def test_the_verb_in_json(home: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["cpu"]["threads"] >= 1
    assert document["engine"]["version"] == engine_version()
    assert document["disk"]["path"] == str(home.models)
    assert document["disk"]["write_bytes_per_second"] is None


def test_the_verb_measures(
    home: Paths, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.hardware.disk._SECONDS", 0.05)
    assert main(["hardware", "--disk", "--json"]) == 0
    disk = json.loads(capfd.readouterr().out)["disk"]
    assert disk["write_bytes_per_second"] > 0
    assert list(home.partial.iterdir()) == []
