"""Whether guessing what comes next pays, by what it has cost and brought so far.

A guess costs what the batch takes longer with it than without, and brings a token if it is right.
Both are measured: batches of some sizes take hardly longer than one token, those of others twice
as long, and that is another thing on every machine. What guessing may lose is a small part of what
was generated without it, so that it is never felt where it does not help. Nothing here knows a
model or a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Acceptance", "Chance", "Speculation", "StepTimes"]

_FOLLOW = 0.3
"""How far one measurement moves the expectation."""
_OUTLIER = 2.0
"""A measurement counts as no more than so many times what was expected: the machine was busy."""
_SUPPOSED = 0.15
"""What each further token adds to a batch, as a part of the time of the first, until measured."""
_REACH = 4
"""So many times as many tokens as were timed: what larger batches take is anybody's guess."""
_WORTHWHILE = 1.03
"""Tokens per second with guesses over those without, at the least."""
_PART = 0.015
"""Of the tokens generated without guesses, what guesses may lose."""
_CREDIT = 0.5
"""Tokens that may be lost before anything was generated."""
_MOST_CREDIT = 4.0
"""Tokens that may be lost at once after much was won."""
_PROBE = 3
"""Guesses that see whether it has begun to pay: batches of four tokens suit most processors."""
_FORGET = 0.9
_SUPPOSED_RIGHT, _SUPPOSED_TRIALS = 1.5, 2.0


class Acceptance:
    """The share of guesses that turn out right, of one text, the latest counting most."""

    def __init__(self) -> None:
        self._right = _SUPPOSED_RIGHT
        self._trials = _SUPPOSED_TRIALS

    @property
    def share(self) -> float:
        return self._right / self._trials

    def record(self, guessed: int, right: int) -> None:
        """Of `guessed` guesses in a row the first `right` were; those behind a wrong one say
        nothing."""
        self._right = _FORGET * self._right + right
        self._trials = _FORGET * self._trials + right + (right < guessed)

    def gain(self, count: int) -> float:
        """Tokens to expect of so many guesses."""
        gain, chance = 0.0, 1.0
        for _ in range(count):
            chance *= self.share
            gain += chance
        return gain


@dataclass(frozen=True, slots=True)
class Chance:
    """What could be guessed of a text: at most `most` tokens, each of which takes `seconds`, and
    how good such guesses were."""

    most: int
    acceptance: Acceptance
    seconds: float = 0.0


class StepTimes:
    """How long batches of so many tokens take."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def record(self, tokens: int, seconds: float) -> None:
        if not seconds > 0:
            return
        if (expected := self._seconds.get(tokens)) is None:
            self._seconds[tokens] = seconds
        else:
            latest = min(seconds, _OUTLIER * expected)
            self._seconds[tokens] = expected + _FOLLOW * (latest - expected)

    @property
    def reach(self) -> int:
        """Batches of up to so many tokens are not too far from those measured."""
        return _REACH * max(self._seconds, default=0)

    def __call__(self, tokens: int) -> float:
        """Seconds to expect; what was not measured lies between what was. 0: nothing was."""
        if tokens in self._seconds or not self._seconds:
            return self._seconds.get(tokens, 0.0)
        below = max((n for n in self._seconds if n < tokens), default=None)
        above = min((n for n in self._seconds if n > tokens), default=None)
        if below is None:
            assert above is not None
            step = _SUPPOSED / (1 + _SUPPOSED * (above - 1))  # of what `above` takes
            return self._seconds[above] * (1 - step * (above - tokens))
        start = self._seconds[below]
        if above is None:
            step = start * _SUPPOSED / (1 + _SUPPOSED * (below - 1))
            return start + step * (tokens - below)
        return start + (self._seconds[above] - start) * (tokens - below) / (above - below)


class Speculation:
    """Says how many guesses to read, at most `most` in a batch; see `plan` and `record`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.times = StepTimes()
        self._balance = _CREDIT
        """Tokens that guesses may lose, by what they brought and what they cost."""

    def plan(self, growing: int, texts: Sequence[Chance]) -> list[int]:
        """How many guesses to read for each of `texts`. `growing` texts are in the batch, these
        among them."""
        counts = [0] * len(texts)
        if not (plain := self.times(growing)):
            return counts
        expected, tokens, spent = float(growing), growing, plain
        for number, text in enumerate(texts):
            best, best_rate = 0, _WORTHWHILE * expected / spent
            room = min(text.most, self.most + growing - tokens, self.times.reach - tokens)
            for count in range(1, room + 1):
                more = self._more(tokens, count) + count * text.seconds
                if growing * (spent + more - plain) / plain > self._balance:
                    continue
                rate = (expected + text.acceptance.gain(count)) / (spent + more)
                if rate > best_rate:
                    best, best_rate = count, rate
            if not best and not sum(counts):
                best = self._probe(growing, room, text.seconds)
            if best:
                counts[number] = best
                expected += text.acceptance.gain(best)
                spent += self._more(tokens, best) + best * text.seconds
                tokens += best
        return counts

    def _more(self, tokens: int, count: int) -> float:
        """Seconds that `count` guesses add to a batch of `tokens`; a batch that was measured to be
        quicker than a smaller one is no slower for being larger."""
        return self.times(tokens + count) - self.times(tokens)

    def _probe(self, growing: int, room: int, seconds: float) -> int:
        count = min(_PROBE, room)
        lost = growing * (self._more(growing, count) + count * seconds) / self.times(growing)
        # What a probe costs must have been earned, so that probes in vain become no habit.
        return count if count > 0 and max(lost, _SUPPOSED) <= self._balance else 0

    def record(
        self, growing: int, guessed: int, right: int, seconds: float, guess_seconds: float = 0.0
    ) -> None:
        """A batch of `growing` texts with so many guesses, of which some were right, took
        `seconds`; to make the guesses took more."""
        self.times.record(growing + guessed, seconds)
        if not guessed and not guess_seconds:
            self._balance = min(_MOST_CREDIT, self._balance + _PART * growing)
            return
        plain = self.times(growing)
        took = self.times(growing + guessed) + guess_seconds
        self._balance += right - growing * (took - plain) / plain
        self._balance = max(-_CREDIT, min(_MOST_CREDIT, self._balance))
