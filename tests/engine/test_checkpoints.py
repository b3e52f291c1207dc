"""What is kept to go back to."""

from __future__ import annotations

from localq.engine.checkpoints import Checkpoint, Checkpoints


def test_the_latest_one_on_the_way() -> None:
    kept = Checkpoints(100)
    kept.add([1, 2], b"a")
    kept.add([1, 2, 3, 4], b"bb")
    kept.add([1, 2, 9], b"c")
    assert kept.latest([1, 2, 3, 4, 5]) == Checkpoint(4, b"bb")
    assert kept.latest([1, 2, 3]) == Checkpoint(2, b"a")
    assert kept.latest([1]) is None
    assert kept.has([1, 2, 9])
    assert not kept.has([1, 2, 3])
    kept.add([1, 2], b"other")  # there is one
    assert kept.latest([1, 2]) == Checkpoint(2, b"a")


def test_the_one_used_longest_ago_goes() -> None:
    kept = Checkpoints(10)
    for token in range(3):
        kept.add([token], b"xxx")
    assert kept.latest([0])
    kept.add([9], b"xxx")
    assert (len(kept), kept.nbytes) == (3, 9)
    assert kept.latest([1]) is None
    assert kept.latest([0])
    kept.add([8], b"x" * 11)  # never fits
    assert len(kept) == 3
