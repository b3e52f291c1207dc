"""What all loaded models of a machine may take together."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localq.engine.resident import resident_memory
from localq.hardware.profile import CpuProfile, Device, HardwareProfile, Memory, System
from localq.library import Library
from localq.planning.budgets import host_and_devices
from localq.planning.offload_plan import PlanOptions
from localq.planning.room import Tenant
from localq.services.hosting.budget import measure_budget
from localq.services.hosting.pool import ModelPool
from localq.services.hosting.registry import WorkerRecord
from tests.engine.test_engine import DEMO, make_gguf

GB = 1_000_000_000
PROFILE = HardwareProfile(
    system=System("linux"),
    cpu=CpuProfile(4, 4),
    memory=Memory(32 * GB, 20 * GB),
    devices=(
        Device("CUDA0", "a GPU", "CUDA", "gpu", 24 * GB, 14 * GB),
        Device("CPU", "the processor", "CPU", "cpu", 32 * GB, 20 * GB),
    ),
)


def worker(state: str = "idle", pid: int | None = None, mapped: int = 2 * GB) -> WorkerRecord:
    return WorkerRecord(
        id="0.1",
        model="m",
        path="m.gguf",
        owner="serve",
        owner_pid=1,
        state=state,  # type: ignore[arg-type]
        since=0,
        pid=pid,
        devices=("host", "CUDA0"),
        memory=(3 * GB, 8 * GB),
        mapped=mapped,
    )


def test_what_is_loaded_counts_once() -> None:
    """It was free before: what the process took is added to what is free now; weights in a mapped
    file never left that."""
    budget = measure_budget(PROFILE, [worker()])
    assert budget.everything == {"host": 21 * GB, "CUDA0": 22 * GB}
    loading = measure_budget(PROFILE, [worker("loading")])  # has taken nothing yet
    assert loading.everything == {"host": 20 * GB, "CUDA0": 14 * GB}
    assert measure_budget(PROFILE, [worker(mapped=0)]).everything["host"] == 23 * GB


def test_the_machine_with_some_of_them() -> None:
    budget = measure_budget(PROFILE, [worker()])
    staying = Tenant("0.1", {"host": 3 * GB, "CUDA0": 8 * GB}, None)
    beside = budget.without_all_but([staying])
    assert beside.memory is not None
    assert beside.memory.available == 18 * GB  # less than is free: the file would be thrown out
    assert [device.free_bytes for device in beside.devices] == [14 * GB, 20 * GB]
    alone = budget.without_all_but(())
    assert alone.memory is not None
    assert alone.memory.available == 21 * GB
    assert alone.devices[0].free_bytes == 22 * GB
    margins = {b.name: b.margin for b in (host_and_devices(PROFILE).devices)}
    assert budget.capacity["CUDA0"] == 22 * GB - margins["CUDA0"]


def test_a_limit_of_ones_own() -> None:
    limited = measure_budget(PROFILE, [worker()], 8 * GB)
    assert limited.capacity["host"] == 8 * GB
    assert limited.capacity["CUDA0"] == measure_budget(PROFILE, [worker()]).capacity["CUDA0"]
    assert measure_budget(PROFILE, [], 100 * GB).capacity == measure_budget(PROFILE, []).capacity
    silent = replace(PROFILE, memory=None)
    assert measure_budget(silent, [worker()]).capacity["host"] is None
    assert measure_budget(silent, [worker()], 8 * GB).capacity["host"] == 8 * GB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of other processes")
def test_what_a_process_has_really_taken() -> None:
    anonymous = resident_memory().anonymous_bytes
    assert anonymous is not None
    taken = measure_budget(PROFILE, [worker(pid=os.getpid())]).everything["host"]
    assert taken is not None
    assert taken - 20 * GB == pytest.approx(anonymous, rel=0.2)


@pytest.mark.parametrize("n_seq_max", [1, 32, 256])
def test_the_plan_has_room_for_the_outputs_of_all_at_once(
    library: Library, tmp_path: Path, n_seq_max: int
) -> None:
    path = make_gguf(DEMO, tmp_path)
    with ModelPool(library, n_seq_max=n_seq_max) as pool:
        prepared = pool.prepare(str(path), PlanOptions(n_ctx=2048, n_threads=1))
        assert prepared.plan
        with pool.open(prepared) as hosted:
            memory = hosted.loaded.memory
            vocabulary = hosted.loaded.n_vocab
    planned = prepared.plan.estimate
    assert sum(one.output_bytes for one in memory) == pytest.approx(
        4 * vocabulary * n_seq_max, abs=1 << 13
    )
    assert planned.kv_cache == pytest.approx(sum(one.context_bytes for one in memory), rel=0.02)
    taken = sum(one.compute_bytes + one.output_bytes for one in memory)
    assert taken == pytest.approx(planned.compute, rel=0.05, abs=1 << 14)
