"""What a tuning tells while it measures, and the way back."""

from __future__ import annotations

from localq.planning.measurements import TuningPoint
from localq.services.machine.tune_log import point_line, points_in


def test_what_is_told_is_read() -> None:
    points = (TuningPoint("n_threads", 4, 31.25), TuningPoint("n_ubatch", 512, 0.5))
    lines = "\n".join(f"  {point_line(point)}" for point in points)
    assert points_in(f"--- started 2026-01-01\nmeasuring x\n{lines}\nsomething else") == points


def test_the_last_word_counts_and_nonsense_does_not() -> None:
    log = "n_threads = 4: 1.00 tok/s\nn_threads = 4: 2.00 tok/s\n"
    assert points_in(log) == (TuningPoint("n_threads", 4, 2.0),)
    assert points_in("n_threads = x: 1.00 tok/s\nn_threads = 4: 1e999 tok/s\n") == ()
