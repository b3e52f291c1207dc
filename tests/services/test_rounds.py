"""Which models are evaluated together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localq.planning.budgets import HostAndDevices
from localq.planning.estimate import DeviceMemory, MemoryEstimate
from localq.planning.offload_plan import DeviceBudget
from localq.services.quality.rounds import fits, rounds

GB = 10**9


def takes(host: float, gpu: float = 0) -> MemoryEstimate:
    devices = (DeviceMemory("host", int(host * GB)), DeviceMemory("CUDA0", int(gpu * GB)))
    return MemoryEstimate(devices)


def machine(host: float | None, gpu: float = 0, *, unified: bool = False) -> HostAndDevices:
    free = None if host is None else int(host * GB)
    device = DeviceBudget("CUDA0", int(gpu * GB), 0)
    return HostAndDevices(DeviceBudget("host", free, 0), (device,), (unified,))


def test_as_many_as_fit_go_beside_the_base() -> None:
    others = [takes(1)] * 4
    assert rounds(takes(2), others, machine(16)) == [range(0, 4)]
    assert rounds(takes(2), others, machine(4.6)) == [range(0, 2), range(2, 4)]
    assert rounds(takes(2), others, machine(1)) == [range(i, i + 1) for i in range(4)]
    assert rounds(takes(2), others, machine(None)) == [range(0, 4)], "nobody says how much it has"


def test_without_a_base_each_goes_alone() -> None:
    assert rounds(None, [takes(1)] * 3, machine(100)) == [range(0, 1), range(1, 2), range(2, 3)]


def test_devices_count_too_and_unified_memory_counts_once_more() -> None:
    assert fits([takes(0.1, 4), takes(0.1, 3)], machine(16, 8))
    assert not fits([takes(0.1, 4), takes(0.1, 5)], machine(16, 8))
    assert not fits([takes(0.1, 4)], machine(2, 8, unified=True))


@given(st.floats(0.1, 9), st.lists(st.floats(0.1, 9), max_size=9), st.floats(0.1, 40))
def test_every_model_is_in_one_round(base: float, others: list[float], host: float) -> None:
    made = rounds(takes(base), [takes(other) for other in others], machine(host))
    assert [place for places in made for place in places] == list(range(len(others)))
    for places in made:
        together = [takes(base), *(takes(others[place]) for place in places)]
        assert len(places) == 1 or fits(together, machine(host))
