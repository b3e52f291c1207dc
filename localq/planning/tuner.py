"""What to measure next, and when enough is known: the tuner's decisions, without a clock.

Measurements on a machine that does other things too are noisy, and the noise comes in phases. So
candidates are measured in turns, round after round, and compared within each round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from localq.hardware.profile import CpuProfile

__all__ = ["Contest", "thread_candidates", "ubatch_candidates"]

_DROPPED_BEYOND = (2.0, 1.25, 1.08)
"""After so many rounds a candidate is out that takes so many times as long as the best."""
_AS_GOOD = 1.02
_UBATCHES = (128, 256, 512, 1024)
_MAX_CANDIDATES = 8


class Contest:
    """Finds the candidate of least cost. `planned`, one of them, wins where another is no better
    than it by 2 %."""

    def __init__(self, candidates: Sequence[int], planned: int, *, rounds: int = 5) -> None:
        if planned not in candidates:
            raise ValueError(f"{planned} is not among {candidates}")
        self._planned = planned
        self._rounds = rounds
        self._costs: dict[int, list[float]] = {candidate: [] for candidate in candidates}
        self._running = list(self._costs)

    @property
    def next(self) -> int | None:
        """What to measure now; None: it is decided."""
        if len(self._running) == 1:
            return None
        done = min(len(self._costs[c]) for c in self._running)
        if done >= self._rounds:
            return None
        # Every other round backwards, so that none always comes after the same other one.
        order = self._running if done % 2 == 0 else self._running[::-1]
        return next(c for c in order if len(self._costs[c]) == done)

    def record(self, candidate: int, cost: float) -> None:
        """`candidate`, which was the `next` one, took `cost`; infinity: it cannot be had."""
        self._costs[candidate].append(cost)
        done = len(self._costs[candidate])
        if any(len(self._costs[c]) != done for c in self._running):
            return
        best = self._least()
        limit = _DROPPED_BEYOND[min(done, len(_DROPPED_BEYOND)) - 1]
        self._running = [c for c in self._running if c == best or self._ratio(c, best) <= limit]

    @property
    def best(self) -> int:
        """The winner so far; the planned one before anything is known."""
        least = self._least()
        if not self._costs[self._planned] or not self._costs[least]:
            return self._planned
        return self._planned if self._ratio(self._planned, least) <= _AS_GOOD else least

    @property
    def costs(self) -> Mapping[int, float]:
        """The median cost of every candidate that was measured."""
        return {c: median(costs) for c, costs in self._costs.items() if costs}

    def _least(self) -> int:
        return min(self._running, key=lambda c: median(self._costs[c] or [float("inf")]))

    def _ratio(self, candidate: int, other: int) -> float:
        """How many times the cost of `other` a candidate has, in rounds that had both."""
        pairs = zip(self._costs[candidate], self._costs[other], strict=False)
        return median([a / b if b < float("inf") else 1.0 for a, b in pairs] or [1.0])


def thread_candidates(cpu: CpuProfile) -> tuple[int, ...]:
    """Numbers of threads worth measuring, most first: those that the processor suggests, and
    fractions of them."""
    planned = {cpu.threads, cpu.threads_batch}
    most = max(cpu.threads, cpu.threads_batch, _within_quota(cpu))
    wanted = [most, *planned, most - 1, most * 3 // 4, most // 2, most // 4, 1]
    return tuple(sorted({n for n in wanted[:_MAX_CANDIDATES] if n >= 1} | planned, reverse=True))


def _within_quota(cpu: CpuProfile) -> int:
    """Logical processors that this process may keep busy."""
    logical = cpu.allowed_cpus or cpu.logical_cores or 1
    return logical if cpu.quota_cpus is None else max(1, min(logical, int(cpu.quota_cpus)))


def ubatch_candidates(most: int) -> tuple[int, ...]:
    """Sizes of the parts in which a prompt of `most` tokens can be computed, largest first."""
    return tuple(size for size in reversed(_UBATCHES) if size <= most)
