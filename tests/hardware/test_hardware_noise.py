"""Whatever a machine's files, commands and system calls say: a profile comes of it, in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.cli import output
from localq.cli.hardware import lines
from localq.engine.devices import decode_report
from localq.errors import EngineError
from localq.hardware.cpu import cpu_threads
from localq.hardware.cpuinfo import parse_cpuinfo
from localq.hardware.detect import detect, with_engine
from localq.hardware.installation import Installer
from localq.hardware.lists import parse_cpu_list
from localq.hardware.machine import Machine, Output
from localq.hardware.nvidia import driver_cuda, parse_nvidia_smi
from localq.hardware.profile import HardwareProfile
from localq.hardware.windows import WindowsAnswers
from localq.hardware.windows_topology import parse_topology
from tests.machines import NAMES, RecordedMachine, recorded_engine, recorded_machine

NUMBERS = st.sampled_from(["0", "-1", "1", "4294967296", "9" * 19, "9" * 30, "0x1002", "0-8191"])
# What a file of /proc becomes when any bytes are read as text, and texts that nearly make sense.
TEXTS = st.one_of(
    st.binary(max_size=200).map(lambda b: b.decode("utf-8", "replace").strip()),
    st.text("0123456789-,: \n\tabkKMx.[]{}\"'", max_size=120),
    NUMBERS,
)


def check(machine: Machine) -> HardwareProfile:
    engine, devices = recorded_engine("intel-12900k")
    profile = with_engine(machine, detect(machine), engine, devices, Installer("python"))
    assert profile.cpu.threads >= 1
    assert cpu_threads(machine) >= 1
    assert all(gpu.total_bytes is None or gpu.total_bytes >= 0 for gpu in profile.accelerators)
    memory = profile.memory
    assert memory is None or 0 <= memory.available <= memory.total
    json.dumps(output.to_json(profile))
    assert list(lines(profile))
    return profile


@dataclass
class Babbler(RecordedMachine):
    """Answers every question, with one of a few texts."""

    texts: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        return self.texts[len(path) % len(self.texts)]

    def names(self, folder: str) -> tuple[str, ...]:
        return ("card0", "0000:01:00.0", "1", *self.texts)

    def run(self, command: object) -> Output | None:
        return Output(self.texts[0], 0)

    def sysctl(self, name: str) -> bytes | None:
        return self.texts[len(name) % len(self.texts)].encode("utf-8", "surrogateescape")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["linux", "macos", "windows", "freebsd"]), st.lists(TEXTS, min_size=1))
def test_any_answer_to_every_question(system: str, texts: list[str]) -> None:
    check(Babbler(os=system, texts=tuple(texts)))


def test_every_processor_may_claim_to_be_of_one_core_with_all_others() -> None:
    assert check(Babbler(texts=("0-8191",))).cpu.logical_cores == 8192


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_machine_with_some_of_its_files_replaced(data: st.DataObject) -> None:
    machine = recorded_machine(data.draw(st.sampled_from(NAMES)))
    if machine.files:
        paths = st.sampled_from(sorted(machine.files))
        changed = data.draw(st.dictionaries(paths, TEXTS, min_size=1, max_size=8))
        machine = replace(machine, files={**machine.files, **changed})
    if machine.commands:
        text = data.draw(TEXTS)
        machine = replace(machine, commands=dict.fromkeys(machine.commands, Output(text, 1)))
    if machine.sysctls:
        names = st.sampled_from(sorted(machine.sysctls))
        values = data.draw(st.dictionaries(names, st.binary(max_size=40), min_size=1))
        machine = replace(machine, sysctls={**machine.sysctls, **values})
    check(machine)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_machine_with_some_of_its_files_missing(data: st.DataObject) -> None:
    machine = recorded_machine(data.draw(st.sampled_from(NAMES)))
    seed = data.draw(st.integers(0, 2**32))
    kept = {p: t for n, (p, t) in enumerate(machine.files.items()) if seed >> n % 32 & 1}
    check(replace(machine, files=kept, commands={}))


@given(st.binary(max_size=400))
def test_windows_processors_of_any_bytes(buffer: bytes) -> None:
    parse_topology(buffer)
    recorded = recorded_machine("windows-laptop").answers.processors
    mixed = WindowsAnswers(recorded[: len(buffer)] + buffer)
    check(RecordedMachine(os="windows", answers=mixed))


@given(TEXTS)
def test_parsers_take_any_text(text: str) -> None:
    assert len(parse_cpu_list(text)) <= 8192
    info = parse_cpuinfo(text)
    assert all(cpu in core for cpu, core in info.cores.items())
    assert all(gpu.vendor == "NVIDIA" for gpu in parse_nvidia_smi(text))
    cuda = driver_cuda(text)
    assert cuda is None or cuda >= (11, 0)


@given(st.frozensets(st.integers(0, 8191), max_size=50))
def test_cpu_lists_are_read_as_the_kernel_writes_them(cpus: frozenset[int]) -> None:
    assert parse_cpu_list(",".join(map(str, sorted(cpus)))) == cpus


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["devices", "backends", "cpu_features", "error", "id", "kind"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_the_engine_may_say_anything(answer: bytes) -> None:
    with pytest.raises(EngineError):
        decode_report(answer)
