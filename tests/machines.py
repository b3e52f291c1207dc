"""Recorded machines, replayed through the interface that probes read. See their README."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from localq.engine.devices import decode_report
from localq.hardware.lists import parse_cpu_list
from localq.hardware.machine import Machine, Output
from localq.hardware.profile import Device, EngineBuild
from localq.hardware.windows import Adapter, WindowsAnswers, WindowsMemory
from localq.services.machine.hardware import engine_facts

__all__ = ["FOLDER", "NAMES", "RecordedMachine", "recorded_engine", "recorded_machine"]

FOLDER = Path(__file__).parent / "data" / "machines"
NAMES = tuple(sorted(path.parent.name for path in FOLDER.glob("*/machine.json")))
_SWAP = re.compile(r"total = ([\d.]+)M +used = ([\d.]+)M +free = ([\d.]+)M")


@dataclass
class RecordedMachine(Machine):
    """Answers from memory: files by path, commands by what was typed."""

    os: str = "linux"
    release: str = "6.8.0"
    architecture: str = "x86_64"
    files: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, Output] = field(default_factory=dict)
    sysctls: Mapping[str, bytes] = field(default_factory=dict)
    answers: WindowsAnswers = field(default_factory=WindowsAnswers)
    variables: Mapping[str, str] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        return self.files.get(path)

    def names(self, folder: str) -> tuple[str, ...]:
        start = folder.rstrip("/") + "/"
        inside = (path[len(start) :] for path in self.files if path.startswith(start))
        return tuple(sorted({path.partition("/")[0] for path in inside}))

    def run(self, command: Sequence[str]) -> Output | None:
        return self.commands.get(" ".join(command))

    def allowed_cpus(self) -> frozenset[int] | None:
        match = re.search(
            r"^Cpus_allowed_list:\s*(\S+)$", self.files.get("/proc/self/status", ""), re.MULTILINE
        )
        return parse_cpu_list(match[1]) if match else self.answers.allowed_cpus

    def sysctl(self, name: str) -> bytes | None:
        return self.sysctls.get(name)

    def windows(self) -> WindowsAnswers:
        return self.answers

    def environment(self, name: str) -> str | None:
        return self.variables.get(name)


@cache
def recorded_machine(name: str) -> RecordedMachine:
    folder = FOLDER / name
    meta = json.loads((folder / "machine.json").read_text())
    commands: dict[str, Output] = {}
    for heading, text in _sections(folder / "commands.txt").items():
        command, _, code = heading.rpartition(" -> ")
        commands[command] = Output(text, int(code))
    return RecordedMachine(
        os=meta["os"],
        release=meta["release"],
        architecture=meta["architecture"],
        files=_sections(folder / "files.txt"),
        commands=commands,
        sysctls=_sysctls(folder / "sysctl.txt"),
        answers=_windows(folder / "windows.json"),
    )


@cache
def recorded_engine(name: str) -> tuple[EngineBuild, tuple[Device, ...]]:
    value = json.loads((FOLDER / name / "engine.json").read_text())
    version = value.pop("version")
    return engine_facts(decode_report(json.dumps(value).encode()), version)


def _sections(path: Path) -> dict[str, str]:
    """The parts of a file under their "=== heading" lines; several headings share a part."""
    found: dict[str, str] = {}
    headings: list[str] = []
    lines: list[str] = []
    for line in [*_lines(path), "=== end"]:
        if not line.startswith("=== "):
            lines.append(line)
            continue
        if lines:
            found.update(dict.fromkeys(headings, "\n".join(lines).strip()))
            headings, lines = [], []
        headings.append(line[4:])
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def _sysctls(path: Path) -> dict[str, bytes]:
    """What `sysctl` prints, back in the form the system call gives."""
    found: dict[str, bytes] = {}
    for line in _lines(path):
        name, _, value = line.partition(": ")
        if swap := _SWAP.match(value):
            total, used, free = (round(float(part) * 2**20) for part in swap.groups())
            found[name] = struct.pack("<QQQII", total, free, used, 16384, 1)
        elif value.isdecimal():
            found[name] = struct.pack("<Q", int(value))
        else:
            found[name] = value.encode() + b"\0"
    return found


def _windows(path: Path) -> WindowsAnswers:
    if not path.exists():
        return WindowsAnswers()
    value: dict[str, Any] = json.loads(path.read_text())
    return WindowsAnswers(
        processors=bytes.fromhex(value["processors"]),
        allowed_cpus=frozenset(value["allowed_cpus"]) if value["allowed_cpus"] else None,
        features=frozenset(value["features"]),
        processor=value["processor"],
        vendor=value["vendor"],
        memory=WindowsMemory(**value["memory"]),
        adapters=tuple(Adapter(**adapter) for adapter in value["adapters"]),
    )
