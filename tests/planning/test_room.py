"""Which models give way to another."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from localq.planning.room import Room, Tenant, make_room

DEVICES = ("host", "CUDA0")
FOOTPRINTS = st.fixed_dictionaries({device: st.integers(0, 20) for device in DEVICES})
TENANTS = st.lists(
    st.builds(
        Tenant,
        st.just(""),
        FOOTPRINTS,
        st.none() | st.floats(0, 100),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
).map(lambda found: [replace(tenant, id=str(n)) for n, tenant in enumerate(found)])
CAPACITY = st.fixed_dictionaries({device: st.none() | st.integers(0, 60) for device in DEVICES})


def fits(need: dict[str, int], capacity: dict[str, int | None], staying: list[Tenant]) -> bool:
    for device, wanted in need.items():
        limit = capacity[device]
        held = sum(tenant.footprint[device] for tenant in staying)
        if wanted and limit is not None and wanted + held > limit:
            return False
    return True


@given(FOOTPRINTS, CAPACITY, TENANTS)
def test_room_is_made_and_no_more_than_needed(
    need: dict[str, int], capacity: dict[str, int | None], tenants: list[Tenant]
) -> None:
    room = make_room(need, capacity, tenants)
    movable = {tenant.id for tenant in tenants if tenant.gives_way}
    assert set(room.evict) <= movable
    assert len(set(room.evict)) == len(room.evict)
    if room.fits:
        assert fits(need, capacity, [t for t in tenants if t.id not in room.evict])
        for spared in room.evict:  # each of them had to go
            gone = set(room.evict) - {spared}
            assert not fits(need, capacity, [t for t in tenants if t.id not in gone])
    else:
        assert room.evict == ()
        subsets = (set(c) for n in range(len(movable) + 1) for c in combinations(movable, n))
        assert not any(
            fits(need, capacity, [t for t in tenants if t.id not in gone]) for gone in subsets
        )
        least = [tenant for tenant in tenants if tenant.id not in movable]
        more = {
            device: None if limit is None else limit + room.lacking.get(device, 0)
            for device, limit in capacity.items()
        }
        assert fits(need, more, least)  # what lacks is exactly that


@given(FOOTPRINTS, CAPACITY, TENANTS)
def test_the_order_in_which_models_are_told_of_does_not_matter(
    need: dict[str, int], capacity: dict[str, int | None], tenants: list[Tenant]
) -> None:
    apart = [
        replace(t, idle_since=None if t.idle_since is None else n) for n, t in enumerate(tenants, 1)
    ]
    assert make_room(need, capacity, apart) == make_room(need, capacity, apart[::-1])


def idle(id_: str, host: int, since: float, *, ours: bool = True, pinned: bool = False) -> Tenant:
    return Tenant(id_, {"host": host}, since, pinned, ours)


def test_least_recently_used_and_ours_go_first() -> None:
    tenants = [idle("new", 4, 9), idle("old", 4, 1), idle("other", 4, 0, ours=False)]
    assert make_room({"host": 4}, {"host": 12}, tenants) == Room(("old",))
    assert make_room({"host": 8}, {"host": 12}, tenants) == Room(("old", "new"))
    assert make_room({"host": 12}, {"host": 12}, tenants) == Room(("old", "new", "other"))
    assert make_room({"host": 13}, {"host": 12}, tenants) == Room(lacking={"host": 1})


def test_memory_counts_not_the_number() -> None:
    tenants = [idle("small", 1, 1), idle("large", 10, 2), idle("other", 1, 3)]
    # The small one was used longest ago, but its going would not help.
    assert make_room({"host": 10}, {"host": 12}, tenants) == Room(("large",))
    busy = [replace(tenants[1], idle_since=None), idle("kept", 1, 0, pinned=True)]
    assert make_room({"host": 2}, {"host": 12}, busy) == Room(lacking={"host": 1})
    assert make_room({"host": 2}, {}, busy) == Room()
