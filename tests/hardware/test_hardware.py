"""Threads, memory and containers' limits, from made-up /proc and /sys folders."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from localq.hardware import cpu_threads, memory
from localq.hardware.cgroup import MemoryLimit, cpu_quota, memory_limit
from localq.hardware.cpu_linux import linux_cpu, linux_threads
from localq.hardware.lists import parse_cpu_list
from localq.hardware.machine import LocalMachine
from localq.hardware.macos import macos_memory
from localq.hardware.memory import parse_meminfo
from localq.hardware.profile import Cache, Memory
from localq.hardware.windows import WindowsAnswers, WindowsMemory
from localq.hardware.windows_topology import parse_topology
from tests.machines import RecordedMachine

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  1000000 kB\nMemAvailable:    8000000 kB\n"


def linux(root: Path, cpus: set[int] | None = None) -> LocalMachine:
    machine = LocalMachine(root, frozenset(cpus) if cpus is not None else None)
    machine.os = "linux"
    return machine


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def smt(root: Path, pairs: int) -> None:
    """`pairs` cores of two threads each: CPU n and n + pairs."""
    for cpu in range(pairs * 2):
        low = cpu % pairs
        name = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        write(root, {name: f"{low},{low + pairs}"})


def v2(group: str, **files: str) -> dict[str, str]:
    named = {f"sys/fs/cgroup{group}/{k.replace('_', '.', 1)}": v for k, v in files.items()}
    return {"proc/self/cgroup": f"0::{group or '/'}", **named}


def test_this_machine_has_threads_and_memory() -> None:
    assert 1 <= cpu_threads() <= (os.cpu_count() or 1)
    found = memory()
    if sys.platform in ("linux", "darwin", "win32"):
        assert found is not None
        assert 0 < found.available <= found.total


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("5\n", {5}),
        ("", set()),
        ("a-b", set()),
        ("3-", set()),
        ("0-99999999999", set()),
        ("3,1", set()),
        ("1-3,2", set()),
    ],
)
def test_cpu_lists(text: str, cpus: set[int]) -> None:
    assert parse_cpu_list(text) == cpus


def test_two_threads_of_a_core_count_once(tmp_path: Path) -> None:
    smt(tmp_path, 4)
    assert linux_threads(linux(tmp_path, set(range(8)))) == 4
    assert linux_threads(linux(tmp_path, {0, 4, 1})) == 2


def test_efficiency_cores_are_left_out_unless_there_are_no_others(tmp_path: Path) -> None:
    write(tmp_path, {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4-11"})
    assert linux_threads(linux(tmp_path, set(range(12)))) == 4
    assert linux_threads(linux(tmp_path, {6, 7})) == 2


def test_without_topology_every_allowed_cpu_counts(tmp_path: Path) -> None:
    assert linux_threads(linux(tmp_path, {0, 2, 5})) == 3
    assert linux_threads(linux(tmp_path, set())) == 1


@pytest.mark.parametrize(
    ("cpu_max", "threads"),
    [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("nonsense", 8), ("1 0", 8)],
)
def test_a_containers_quota_is_rounded_down(tmp_path: Path, cpu_max: str, threads: int) -> None:
    write(tmp_path, v2("", cpu_max=cpu_max))
    assert linux_threads(linux(tmp_path, set(range(8)))) == threads


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    write(tmp_path, v2("/a/b", cpu_max="max 100000"))
    write(tmp_path, {"sys/fs/cgroup/a/cpu.max": "300000 100000"})
    assert cpu_quota(linux(tmp_path)) == 3


def test_version_1_quota(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/",
            # A container sees its own part at the top of the mount.
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert cpu_quota(linux(tmp_path)) == 1.5
    write(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"})
    assert cpu_quota(linux(tmp_path)) is None


def test_version_1_where_both_controllers_have_one_folder(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/x"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n0::/docker/x",
            f"{folder}/cpu.cfs_quota_us": "300000",
            f"{folder}/cpu.cfs_period_us": "100000",
        },
    )
    assert cpu_quota(linux(tmp_path)) == 3


def test_a_process_outside_what_the_container_sees(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/../other", "sys/fs/cgroup/cpu.max": "200000 100000"})
    assert cpu_quota(linux(tmp_path)) == 2


def test_memory_of_a_plain_machine(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert memory(linux(tmp_path)) == Memory(16_000_000 * 1024, 8_000_000 * 1024)
    assert memory(linux(tmp_path / "nothing")) is None


def test_memory_of_a_container(tmp_path: Path) -> None:
    gib = 1 << 30
    write(tmp_path, {"proc/meminfo": MEMINFO})
    write(tmp_path, v2("/x", memory_max=str(2 * gib), memory_current=str(gib)))
    write(tmp_path, {"sys/fs/cgroup/x/memory.stat": f"anon 5\ninactive_file {gib // 2}\n"})
    assert memory_limit(linux(tmp_path)) == MemoryLimit(2 * gib, gib // 2)
    assert memory(linux(tmp_path)) == Memory(2 * gib, 2 * gib - gib // 2, limit=2 * gib)


def test_memory_of_a_container_in_a_container(tmp_path: Path) -> None:
    """The inner limit is all there can ever be; the outer group has less left."""
    gib = 1 << 30
    write(tmp_path, {"proc/meminfo": MEMINFO})
    write(tmp_path, v2("/a/b", memory_max=str(2 * gib), memory_current=str(gib // 8)))
    outer = {"memory.max": str(4 * gib), "memory.current": str(3 * gib)}
    write(tmp_path, {f"sys/fs/cgroup/a/{name}": text for name, text in outer.items()})
    assert memory(linux(tmp_path)) == Memory(2 * gib, gib, limit=2 * gib)


def test_memory_limit_of_version_1(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "2:memory:/",
            f"{folder}/memory.limit_in_bytes": "1000",
            f"{folder}/memory.usage_in_bytes": "1200",
            f"{folder}/memory.stat": "total_inactive_file 100",
        },
    )
    assert memory_limit(linux(tmp_path)) == MemoryLimit(1000, 1000)
    write(tmp_path, {f"{folder}/memory.limit_in_bytes": "9223372036854771712"})
    assert memory_limit(linux(tmp_path)) is None


def test_meminfo_ignores_what_it_does_not_know() -> None:
    assert parse_meminfo("MemTotal: 2 kB\nHugePages_Total: 7\nBad: x kB\n") == {"MemTotal": 2048}


def test_a_limit_above_the_memory_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO})
    write(tmp_path, v2("/x", memory_max=str(1 << 40), memory_current="5"))
    found = memory(linux(tmp_path))
    assert found is not None
    assert (found.total, found.limit) == (16_000_000 * 1024, None)


def test_swap(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO + "SwapTotal: 4 kB\nSwapFree: 3 kB\n"})
    found = memory(linux(tmp_path))
    assert found is not None
    assert (found.swap_total, found.swap_free) == (4096, 3072)


def test_threads_follow_cpuinfo_where_there_is_no_sys(tmp_path: Path) -> None:
    blocks = (f"processor: {n}\nphysical id: 0\ncore id: {n // 2}\n" for n in range(8))
    write(tmp_path, {"proc/cpuinfo": "\n".join(blocks)})
    assert linux_threads(linux(tmp_path, set(range(8)))) == 4
    assert linux_threads(linux(tmp_path, {2, 3, 4})) == 2


def test_small_cores_of_an_arm_are_left_out(tmp_path: Path) -> None:
    for cpu, capacity in enumerate([250, 250, 760, 760, 1024]):
        name = f"sys/devices/system/cpu/cpu{cpu}"
        write(tmp_path, {f"{name}/cpu_capacity": str(capacity)})
        write(tmp_path, {f"{name}/topology/core_cpus_list": str(cpu)})
    assert linux_threads(linux(tmp_path, set(range(5)))) == 3
    assert linux_threads(linux(tmp_path, {0, 1})) == 2


@pytest.mark.parametrize(
    ("capacities", "threads"),
    [
        ([350] * 4 + [870] * 3 + [1024], 4),
        ([250] * 4 + [520] * 3 + [1024], 4),  # one large core alone is slower than four
        ([160] * 4 + [500] * 2 + [1024] * 2, 2),
    ],
)
def test_three_kinds_of_cores(tmp_path: Path, capacities: list[int], threads: int) -> None:
    for cpu, capacity in enumerate(capacities):
        name = f"sys/devices/system/cpu/cpu{cpu}"
        write(tmp_path, {f"{name}/cpu_capacity": str(capacity)})
        write(tmp_path, {f"{name}/topology/core_cpus_list": str(cpu)})
    write(tmp_path, {"sys/devices/system/cpu/online": "0-7"})
    for allowed in ({*range(8)}, {0, 1, 4}, {0, 1, 4, 7}):
        machine = linux(tmp_path, allowed)
        assert linux_threads(machine) == linux_cpu(machine).threads
    assert linux_threads(linux(tmp_path, {*range(8)})) == threads


def test_macos_memory() -> None:
    values = {"hw.memsize": 1000, "hw.pagesize": 10, "vm.page_free_count": 20}
    assert macos_memory(mac(values)) == Memory(1000, 200)
    assert macos_memory(mac({**values, "vm.page_free_count": 900})) == Memory(1000, 1000)
    assert macos_memory(mac({})) is None


def test_windows_memory() -> None:
    answers = WindowsAnswers(memory=WindowsMemory(1000, 400, 1500, 600))
    assert memory(RecordedMachine(os="windows", answers=answers)) == Memory(1000, 400, 500, 200)
    assert memory(RecordedMachine(os="windows")) is None


def mac(values: dict[str, int]) -> RecordedMachine:
    return RecordedMachine(
        os="macos", sysctls={name: struct.pack("<Q", value) for name, value in values.items()}
    )


def windows_core(efficiency: int, mask: int) -> bytes:
    return struct.pack("<IIBB20xHQH6x", 0, 48, 1, efficiency, 1, mask, 0)


def windows_machine(buffer: bytes, allowed: frozenset[int] | None = None) -> RecordedMachine:
    return RecordedMachine(os="windows", answers=WindowsAnswers(buffer, allowed))


def test_windows_cores() -> None:
    fast = b"".join(windows_core(1, 3 << 2 * n) for n in range(6))
    slow = b"".join(windows_core(0, 1 << 12 + n) for n in range(8))
    assert cpu_threads(windows_machine(fast + slow)) == 6
    assert cpu_threads(windows_machine(fast + slow, frozenset({0, 1, 2, 12}))) == 2
    assert cpu_threads(windows_machine(fast + slow, frozenset({12, 13}))) == 2
    assert cpu_threads(windows_machine(slow)) == 8
    assert cpu_threads(windows_machine(b"")) == 1
    assert cpu_threads(windows_machine(struct.pack("<II", 0, 0))) == 1


def test_windows_topology() -> None:
    cache = struct.pack("<IIBBHII18xHQH6x", 2, 56, 2, 8, 64, 1 << 20, 0, 1, 3, 0)
    other = struct.pack("<IIBBHII18xHQH6x", 2, 56, 2, 8, 64, 1 << 21, 0, 1, 12, 0)
    second_group = struct.pack("<IIBB20xHQH6x", 0, 48, 0, 0, 1, 1, 1)
    package = struct.pack("<IIBB20xHQH6x", 3, 48, 0, 0, 1, 3, 0)
    found = parse_topology(windows_core(0, 3) + cache + other + second_group + package)
    assert [core.cpus for core in found.cores] == [{0, 1}, {64}]
    assert found.packages == 1
    assert found.caches == (Cache(2, "unified", 1 << 20, 2),)
