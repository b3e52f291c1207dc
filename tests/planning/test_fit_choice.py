"""Which type is recommended, and that more memory never makes it worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.formats.types import QuantType
from localq.planning.fit_choice import TypeCandidate, Where, recommend, smaller_class

Q = QuantType
BITS = {
    Q.Q2_K: 3.0,
    Q.Q3_K_M: 3.9,
    Q.Q4_0: 4.55,
    Q.Q4_K_S: 4.6,
    Q.Q4_K_M: 4.9,
    Q.Q5_K_M: 5.7,
    Q.Q5_1: 6.0,
    Q.Q6_K: 6.6,
    Q.Q8_0: 8.5,
    Q.F16: 16.0,
}
GB = 10**9


def ladder(billions: float, *, gpu: int = 0, ram: int, active: float = 1.0) -> list[TypeCandidate]:
    """A model on a machine with so many bytes: on the GPU, beside it, in memory, or nowhere."""
    candidates = []
    for type_, bits in BITS.items():
        size = int(billions * GB * bits / 8)
        if size <= gpu:
            where = Where.GPU
        elif size <= ram + gpu:
            where = Where.SPLIT if gpu else Where.CPU
        else:
            where = Where.NOWHERE
        candidates.append(TypeCandidate(type_, size, where, int(size * active)))
    return candidates


def chosen(candidates: list[TypeCandidate]) -> QuantType | None:
    index = recommend(candidates).index
    return None if index is None else candidates[index].type


@pytest.mark.parametrize(
    ("billions", "gpu", "ram", "active", "expected"),
    [
        (1, 0, 16, 1.0, Q.Q8_0),  # 1.1 GB for every token is quick anywhere
        (3, 0, 16, 1.0, Q.Q6_K),
        (8, 0, 64, 1.0, Q.Q4_K_M),  # it all fits, but more bits are slower
        (8, 0, 4, 1.0, Q.Q3_K_M),
        (8, 0, 2, 1.0, None),
        (8, 6, 32, 1.0, Q.Q5_K_M),
        (8, 8, 32, 1.0, Q.Q6_K),
        (8, 24, 32, 1.0, Q.Q8_0),  # F16 fits, too
        (8, 3, 32, 1.0, Q.Q4_K_M),  # better beside the GPU than Q2_K on it
        (30, 0, 64, 0.1, Q.Q6_K),  # a mixture of experts reads few of them
        (70, 24, 64, 1.0, Q.Q4_K_M),
    ],
)
def test_choices(
    billions: float, gpu: int, ram: int, active: float, expected: QuantType | None
) -> None:
    assert chosen(ladder(billions, gpu=gpu * GB, ram=ram * GB, active=active)) is expected


@given(
    st.floats(0.1, 500),
    st.integers(0, 200 * GB),
    st.integers(0, 200 * GB),
    st.integers(0, 100 * GB),
    st.integers(0, 100 * GB),
    st.floats(0.05, 1.0),
)
def test_more_memory_never_recommends_less(
    billions: float, gpu: int, ram: int, more_gpu: int, more_ram: int, active: float
) -> None:
    before = recommend(ladder(billions, gpu=gpu, ram=ram, active=active))
    machine = ladder(billions, gpu=gpu + more_gpu, ram=ram + more_ram, active=active)
    after = recommend(machine)
    assert before.reason
    assert after.reason
    if before.index is None:
        return
    assert after.index is not None
    assert machine[after.index].size_bytes >= machine[before.index].size_bytes
    assert machine[after.index].where is not Where.NOWHERE


@given(
    st.lists(
        st.builds(
            TypeCandidate,
            st.none() | st.sampled_from(QuantType),
            st.integers(1, 10**12),
            st.sampled_from(Where),
            st.integers(0, 10**12),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_whatever_is_offered(candidates: list[TypeCandidate]) -> None:
    advice = recommend(candidates)
    assert advice.reason
    if advice.index is not None:
        taken = candidates[advice.index]
        assert taken.where is not Where.NOWHERE
        assert not taken.needs_imatrix


def test_an_older_type_only_where_it_is_smaller() -> None:
    legacy = TypeCandidate(Q.Q4_0, 100, Where.CPU, 100)
    kquant = TypeCandidate(Q.Q4_K_S, 100, Where.CPU, 100)
    assert chosen([legacy, kquant]) is Q.Q4_K_S
    assert chosen([legacy, replace(kquant, size_bytes=120, where=Where.NOWHERE)]) is Q.Q4_0


def test_a_gpu_that_shares_the_machines_memory_is_no_quicker_than_that_memory() -> None:
    own = ladder(8, gpu=16 * GB, ram=16 * GB)
    assert chosen(own) is Q.Q8_0
    sharing = [replace(candidate, shared=True) for candidate in own]
    assert chosen(sharing) is Q.Q5_K_M  # 5.7 GB for every token
    assert chosen([replace(c, where=Where.CPU) for c in sharing]) is Q.Q4_K_M
    small = [replace(c, shared=True) for c in ladder(3, gpu=16 * GB, ram=16 * GB)]
    assert chosen(small) is Q.Q8_0


def test_other_programs_want_to_live() -> None:
    """A mixture of experts that is quick enough in every type."""
    roomy = ladder(30, ram=34 * GB, active=0.1)
    assert chosen(roomy) is Q.Q6_K
    tight = [replace(c, tight=c.size_bytes > 19 * GB) for c in roomy]
    assert chosen(tight) is Q.Q4_K_M
    assert "leaves memory for other programs" in recommend(tight).reason
    full = [replace(c, tight=True) for c in roomy]  # up to Q4_K_M, what fits is taken
    assert chosen(full) is Q.Q4_K_M


def test_what_is_slow_is_said_to_be() -> None:
    fast = ladder(32, ram=64 * GB)
    slow = [replace(candidate, slow_bytes=candidate.read_bytes) for candidate in fast]
    assert "slow: about 0.7 s for each token" in recommend(slow).reason
    assert "slow" not in recommend(fast).reason.replace("slower", "")


def test_few_bits_are_owned_up_to() -> None:
    assert "smaller model" in recommend(ladder(8, ram=35 * GB // 10)).reason
    assert "smaller model" not in recommend(ladder(8, ram=64 * GB)).reason


@pytest.mark.parametrize(
    ("room", "billions"), [(0, None), (10**8, None), (GB, 1.5), (5 * GB, 8), (10**15, 405)]
)
def test_what_would_fit_instead(room: int, billions: float | None) -> None:
    assert smaller_class(room) == billions
