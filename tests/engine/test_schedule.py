"""Who reads how much in a batch, without a model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.schedule import Due, SliceSize, share_batch

DUES = st.lists(st.builds(Due, tokens=st.integers(1, 3000), generating=st.booleans()), max_size=24)


@settings(deadline=None)
@given(DUES, st.integers(1, 600), st.integers(1, 600))
def test_a_batch_is_shared_well(due: list[Due], capacity: int, slice_tokens: int) -> None:
    shares = share_batch(due, capacity=capacity, slice_tokens=slice_tokens)
    assert len(shares) == len(due)
    assert all(0 <= share <= one.tokens for share, one in zip(shares, due, strict=True))
    assert sum(shares) <= capacity
    growing = [share for share, one in zip(shares, due, strict=True) if one.generating]
    prompts = [share for share, one in zip(shares, due, strict=True) if not one.generating]
    wanted = [one.tokens for one in due if not one.generating]
    # every text that grows gets its token, in turn where there is no room for all
    assert sum(share > 0 for share in growing) == min(len(growing), capacity)
    assert growing == sorted(growing, key=bool, reverse=True)
    allowed = min(capacity - sum(growing), slice_tokens if growing else capacity)
    assert sum(prompts) == min(allowed, sum(wanted))  # nothing is left unused
    if prompts and allowed:
        assert prompts[0] >= min(wanted[0], (allowed + 1) // 2)  # the longest wait goes on


def test_one_alone_gets_all() -> None:
    assert share_batch([Due(2000, False)], capacity=512, slice_tokens=16) == [512]
    assert share_batch([Due(1, True)], capacity=512, slice_tokens=16) == [1]


def test_a_short_prompt_overtakes_a_long_one() -> None:
    long, longer, short = Due(1000, False), Due(2000, False), Due(20, False)
    assert share_batch([long, longer, short], capacity=128, slice_tokens=16) == [64, 44, 20]


@settings(deadline=None)
@given(DUES, st.integers(8, 64))
def test_everybody_is_done_in_the_end(due: list[Due], capacity: int) -> None:
    """However many wait, the sum of what is left shrinks by a whole batch each time."""
    left = [one.tokens for one in due if not one.generating]
    for _ in range(sum(left) // capacity + 1):
        waiting = [Due(tokens, False) for tokens in left if tokens]
        shares = iter(share_batch(waiting, capacity=capacity, slice_tokens=1))
        left = [tokens - next(shares) if tokens else 0 for tokens in left]
    assert not any(left)


def test_slices_take_about_a_quarter_of_a_second() -> None:
    slices = SliceSize(512)
    assert slices.tokens == 64
    for _ in range(20):
        slices.record(slices.tokens, slices.tokens / 400)
    assert slices.tokens == 100
    for _ in range(20):
        slices.record(slices.tokens, slices.tokens / 1e6)
    assert slices.tokens == 512
    for _ in range(20):
        slices.record(slices.tokens, slices.tokens * 1.0)
    assert slices.tokens == 16
    slices.record(3, 100)  # too few to tell anything
    slices.record(100, 0)
    assert slices.tokens == 16
