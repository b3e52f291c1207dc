"""How many threads to generate with while other programs come and go.

llama.cpp's threads meet after every step of a token's computation. When the system gives one of
their cores to somebody else, all wait for that one: two threads on two busy cores can be many
times slower than one. So the engine tries another number now and then and keeps what is faster.
Nothing here reads a clock: times go in, numbers of threads come out.
"""

from __future__ import annotations

from collections import deque
from statistics import median

__all__ = ["ThreadAdapter", "thread_levels"]

_SETTLE = 6
"""Tokens that a median is of."""
_FIRST = 4
"""Tokens before the first trial: where others compute, each of them may take a second."""
_BELIEVED = 3
"""So many medians in a row must be far off before the machine is held to have changed."""
_LOOK_BACK = 12
_STEADY = 0.04
"""The middle half of the latest tokens is no further apart than that part of their time where
nobody else computes: measured, 0.01 on a quiet machine, 0.06 to 0.5 on a busy one."""
_STEADY_WAIT = 256
"""Tokens between trials on such a machine, if all threads are in use and one trial was in vain:
times are steady, too, where others compute all the time."""
_TRIAL = 5
"""Tokens of a trial that goes well; one that goes badly ends after one or two."""
_BETTER = 0.92
_HOME = 0.99
"""A trial wins below this part of the time per token before; the number of threads that was
planned for the machine is taken back more readily."""
_HOPELESS = (1.5, 1.25)
"""A trial is over when its first token, or each of its first two, took so many times as long."""
_CHANGED = 1.3
"""So many times slower or faster for a while: the machine is busier, or less so, than before."""
_FIRST_WAIT = 48
_LONGEST_WAIT = 256
"""Tokens between two trials; each trial in vain doubles the wait."""
_DRIFT = 0.1
"""How fast the expected time follows the measured one: the context grows, the clock changes."""


def thread_levels(most: int) -> tuple[int, ...]:
    """The numbers of threads worth trying, fewest first: all, three quarters, a half, and so on
    down to one; and one less than all, which is best while one other program computes."""
    levels = {most, max(1, most - 1)}
    level = most
    while level:
        levels |= {level, max(1, level * 3 // 4)}
        level //= 2
    return tuple(sorted(levels))


class ThreadAdapter:
    """Chooses between 1 and `most` threads, beginning with `start`.

    Call `record` with the seconds that each token took; compute the next one with `threads`.
    """

    def __init__(self, start: int, most: int) -> None:
        start = max(1, min(start, most))
        self._levels = sorted({*thread_levels(most), start})
        self._level = self._home = self._levels.index(start)
        self._recent: deque[float] = deque(maxlen=_LOOK_BACK)
        self._expected: float | None = None
        """Seconds per token while nothing changes."""
        self._unexpected = 0
        """So many medians in a row were far from that; negative: faster."""
        self._in_vain = False
        """Whether nothing that was tried from here was better."""
        self._trial: _Trial | None = None
        self._to_try: list[int] = []
        self._downwards = True
        """Whether fewer threads are tried before more."""
        self._turn = 0
        self._wait = _FIRST_WAIT
        self._since = 0
        self._until = _FIRST

    @property
    def threads(self) -> int:
        """For the next token."""
        return self._levels[self._trial.level if self._trial else self._level]

    @property
    def settled(self) -> int:
        """The number of threads outside of trials."""
        return self._levels[self._level]

    def record(self, seconds: float) -> None:
        """A token took `seconds` with `threads` threads."""
        if len(self._levels) == 1 or not seconds > 0:
            return
        if self._trial:
            self._judge(self._trial, seconds)
        else:
            self._watch(seconds)

    def _watch(self, seconds: float) -> None:
        self._since += 1
        self._recent.append(seconds)
        if len(self._recent) < _FIRST:
            return
        now = self._now()
        if self._expected is None:
            self._expected = now
        self._compare(now, self._expected)
        if abs(self._unexpected) >= _BELIEVED and self._since >= self._wait // 4:
            self._downwards = self._unexpected > 0
            self._try(self._candidates())  # the machine has become another one
        elif not self._unexpected and self._since >= self._patience():
            candidates = self._candidates()
            self._turn += 1
            self._try([candidates[self._turn % len(candidates) - 1]])

    def _now(self) -> float:
        """Seconds per token lately."""
        return median(list(self._recent)[-_SETTLE:])

    def _patience(self) -> int:
        """Tokens until the next trial; many while nothing speaks for another program."""
        times = sorted(self._recent)
        quarter = len(times) // 4
        steady = times[-1 - quarter] - times[quarter] < _STEADY * median(times)
        settled = self._in_vain and self._level == len(self._levels) - 1
        return _STEADY_WAIT if steady and settled else self._until

    def _compare(self, now: float, expected: float) -> None:
        if now > _CHANGED * expected:
            self._unexpected = max(self._unexpected, 0) + 1
        elif now * _CHANGED < expected:
            self._unexpected = min(self._unexpected, 0) - 1
        else:
            self._unexpected = 0
            self._expected = expected + _DRIFT * (now - expected)

    def _candidates(self) -> list[int]:
        """Levels to try from here: half as many threads, one level less; one more, all."""
        here, last = self._level, len(self._levels) - 1
        half = max(i for i, n in enumerate(self._levels) if 2 * n <= self.settled or i == 0)
        down, up = [half, here - 1], [here + 1, max(here + 1, self._home)]
        first, second = (down, up) if self._downwards else (up, down)
        order = [first[0], second[0], first[1], second[1]]
        return [i for i in dict.fromkeys(order) if 0 <= i <= last and i != here]

    def _try(self, levels: list[int]) -> None:
        self._expected = self._now()
        self._unexpected = 0
        self._to_try = levels
        self._next_trial()

    def _next_trial(self) -> None:
        if self._to_try:
            self._trial = _Trial(self._to_try.pop(0), self._now())
            return
        self._trial = None
        self._in_vain = True  # wait longer
        self._since = 0
        self._until = self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def _judge(self, trial: _Trial, seconds: float) -> None:
        trial.times.append(seconds)
        if trial.is_hopeless:
            self._next_trial()
        elif len(trial.times) == _TRIAL:
            limit = _HOME if trial.level == self._home else _BETTER
            if median(trial.times) < limit * trial.before:
                self._stay(trial)
            else:
                self._next_trial()

    def _stay(self, trial: _Trial) -> None:
        """Keep the level that was tried, and go on in its direction soon."""
        self._downwards = trial.level < self._level
        self._level = trial.level
        self._in_vain = False
        self._trial = None
        self._to_try = []
        self._recent.clear()
        self._expected = None
        self._unexpected = self._turn = self._since = 0
        self._until = _SETTLE
        self._wait = _FIRST_WAIT


class _Trial:
    def __init__(self, level: int, before: float) -> None:
        self.level = level
        self.before = before
        """Seconds per token with the threads there were."""
        self.times: list[float] = []

    @property
    def is_hopeless(self) -> bool:
        count = len(self.times)
        return count <= len(_HOPELESS) and min(self.times) > _HOPELESS[count - 1] * self.before
