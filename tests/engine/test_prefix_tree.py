"""Sequences that begin alike, beside a list of them that is searched from end to end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from localq.engine.prefix_tree import Match, PrefixTree, common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=9)


class TreeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree()
        self.truth: dict[int, list[int]] = {}
        """Least recently used first."""

    @rule(key=st.integers(0, 9), tokens=TOKENS)
    def add(self, key: int, tokens: list[int]) -> None:
        if key in self.truth:
            with pytest.raises(ValueError, match="there already"):
                self.tree.add(key, tokens)
            return
        self.truth[key] = tokens
        self.tree.add(key, tokens)

    @rule(key=st.integers(0, 9))
    def remove(self, key: int) -> None:
        if key in self.truth:
            before = self.distinct()
            del self.truth[key]
            assert self.tree.remove(key) == before - self.distinct()

    @rule(key=st.integers(0, 9))
    def touch(self, key: int) -> None:
        if key in self.truth:
            self.truth[key] = self.truth.pop(key)
            self.tree.touch(key)

    @rule(tokens=TOKENS)
    def search(self, tokens: list[int]) -> None:
        common = {key: common_prefix(tokens, other) for key, other in self.truth.items()}
        longest = max(common.values(), default=0)
        found = self.tree.longest(tokens)
        if not longest:
            assert found is None
        else:
            latest = [key for key, length in common.items() if length == longest][-1]
            assert found == Match(latest, longest)
        whole = {
            Match(key, len(other))
            for key, other in self.truth.items()
            if other and common[key] == len(other)
        }
        prefixes = self.tree.prefixes(tokens)
        assert set(prefixes) == whole
        assert [one.length for one in prefixes] == sorted(
            (one.length for one in whole), reverse=True
        )

    def distinct(self) -> int:
        return len(
            {tuple(tokens[: n + 1]) for tokens in self.truth.values() for n in range(len(tokens))}
        )

    @invariant()
    def is_as_large_as_what_differs(self) -> None:
        assert self.tree.size == self.distinct()
        assert list(self.tree) == list(self.truth)
        assert len(self.tree) == len(self.truth)
        assert all(self.tree.tokens(key) == tuple(self.truth[key]) for key in self.tree)


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(deadline=None)
@given(TOKENS, TOKENS)
def test_the_common_prefix(one: list[int], other: list[int]) -> None:
    length = common_prefix(one, tuple(other))
    assert one[:length] == other[:length]
    assert length in (len(one), len(other)) or one[length] != other[length]
