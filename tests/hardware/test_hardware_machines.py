"""Whole machines, recorded and replayed: what is found out about each, and what it is told."""

from __future__ import annotations

import json

import pytest

from localq.cli import output
from localq.cli.hardware import lines
from localq.hardware.cpu import cpu_threads
from localq.hardware.detect import detect, with_engine
from localq.hardware.installation import Installer
from localq.hardware.profile import HardwareProfile
from tests.machines import FOLDER, NAMES, recorded_engine, recorded_machine

GIB = 1 << 30


def profile_of(name: str) -> HardwareProfile:
    machine = recorded_machine(name)
    engine, devices = recorded_engine(name)
    installer = Installer(
        "python", os=machine.os, architecture=machine.architecture, engine_version=engine.version
    )
    return with_engine(machine, detect(machine), engine, devices, installer)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_machine_is_seen_as_it_is(name: str) -> None:
    expected = json.loads((FOLDER / name / "expected.json").read_text())
    seen = json.loads(json.dumps(output.to_json(profile_of(name))))
    assert seen.pop("codecs") is None  # those that are installed here are none of the machine's
    assert seen == expected


def test_there_are_many_kinds_of_machines() -> None:
    assert len(NAMES) >= 12


@pytest.mark.parametrize(
    ("name", "cores", "threads"),
    [
        # performance, efficiency, logical cores; threads to begin with
        ("amd-apu-7840hs", (8, 0, 16), 8),
        ("amd-rx7900xtx", (8, 0, 16), 8),
        ("container-memory-v1", (4, 0, 8), 2),  # pinned to two cores of two threads
        ("container-memory-v2", (4, 0, 8), 4),
        ("container-quota", (4, 0, 8), 1),  # 1.5 processors' time
        ("epyc-7313-dual", (32, 0, 64), 32),
        ("intel-12900k", (8, 8, 24), 8),
        ("intel-285k", (8, 16, 24), 8),
        ("intel-arc-b580", (6, 0, 12), 6),
        ("laptop-rtx4050", (6, 4, 16), 6),
        ("macbook-air-m3", (4, 4, 8), 4),
        ("no-sys", (4, 0, 4), 4),
        ("orange-pi-5", (4, 4, 8), 4),
        ("raspberry-pi-5", (4, 0, 4), 4),
        ("ryzen-7950x-rtx4090", (16, 0, 32), 16),
        ("two-gpus", (6, 0, 12), 6),
        ("windows-laptop", (6, 8, 20), 6),
        ("wsl2", (8, 0, 16), 8),
    ],
)
def test_cores_and_threads(name: str, cores: tuple[int, int | None, int], threads: int) -> None:
    cpu = profile_of(name).cpu
    assert (cpu.performance_cores, cpu.efficiency_cores, cpu.logical_cores) == cores
    assert cpu.threads == cpu.threads_batch == threads
    assert cpu_threads(recorded_machine(name)) == threads


@pytest.mark.parametrize(
    ("name", "accelerators"),
    [
        ("intel-12900k", [("Intel", None)]),
        ("laptop-rtx4050", [("NVIDIA", 6141 << 20), ("Intel", None)]),
        ("two-gpus", [("NVIDIA", 24576 << 20), ("NVIDIA", 11264 << 20)]),
        ("wsl2", [("NVIDIA", 6144 << 20)]),
        ("macbook-air-m3", [("Apple", 16 * GIB * 2 // 3)]),
        ("amd-rx7900xtx", [("AMD", 25753026560)]),
        ("amd-apu-7840hs", [("AMD", 4294967296 + 14600372224)]),
        ("windows-laptop", [("NVIDIA", 8188 << 20), ("Intel", None)]),
        ("raspberry-pi-5", []),
        ("no-sys", []),
    ],
)
def test_accelerators(name: str, accelerators: list[tuple[str, int | None]]) -> None:
    found = profile_of(name).accelerators
    assert [(gpu.vendor, gpu.total_bytes) for gpu in found] == accelerators


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        # the index of wheels, or the CMake options, that each note's command names
        ("ryzen-7950x-rtx4090", ["/cu124", None]),
        ("laptop-rtx4050", ["/cu122"]),
        ("two-gpus", ["/cu125"]),  # CUDA 13 has left the older card behind
        ("windows-laptop", ["/cu125"]),
        ("amd-rx7900xtx", ["/rocm72"]),
        ("intel-arc-b580", ["/vulkan"]),
        ("no-sys", ["--no-binary llama-cpp-python llama-cpp-python==0.3.36"]),
        ("intel-12900k", []),
        ("amd-apu-7840hs", []),
        ("wsl2", []),
        ("macbook-air-m3", []),
        ("epyc-7313-dual", []),
    ],
)
def test_what_mends_a_disagreement(name: str, commands: list[str | None]) -> None:
    notes = profile_of(name).notes
    assert len(notes) == len(commands)
    for note, end in zip(notes, commands, strict=True):
        assert (note.command is None) if end is None else str(note.command).endswith(end)


def test_memory_is_the_containers() -> None:
    memory = profile_of("container-memory-v1").memory
    assert memory is not None
    assert (memory.total, memory.limit) == (4 * GIB, 4 * GIB)
    assert memory.available == 4 * GIB - (1288490188 - 838860800)


def test_int4_by_compute_capability() -> None:
    found = [gpu.int4 for gpu in profile_of("two-gpus").accelerators]
    assert found == ["good", "no"]


def test_windows_names_its_own_shell() -> None:
    (note,) = profile_of("windows-laptop").notes
    assert str(note.otherwise).startswith('$env:CMAKE_ARGS="-DGGML_CUDA=on"; python -m pip')


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_can_be_shown(name: str) -> None:
    shown = list(lines(profile_of(name)))
    assert shown[0].startswith("machine")
    assert not any("None" in line for line in shown)


def test_what_is_shown_of_a_desktop() -> None:
    shown = "\n".join(lines(profile_of("ryzen-7950x-rtx4090")))
    assert "16 cores, 32 threads" in shown
    assert "unused     AVX512 " in shown
    assert "GeForce RTX 4090, 25.8 GB, 24.9 GB free, compute 8.9, driver 550.120" in shown
    assert "! This machine has an NVIDIA GeForce RTX 4090, but the installed engine is" in shown
    assert "\n  try: python -m pip install" in shown
