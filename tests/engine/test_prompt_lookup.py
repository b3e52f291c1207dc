"""Guesses from the text itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.prompt_lookup import PromptLookup


def test_a_text_goes_on_as_it_did() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3])
    assert lookup.guess(99) == [4, 5, 6, 1, 2, 3]
    assert lookup.guess(2) == [4, 5]
    assert lookup.guess(0) == []
    lookup.add([4, 7, 1, 2, 3])
    assert lookup.guess(3) == [4, 7, 1]  # the latest time


def test_two_tokens_are_no_reason() -> None:
    assert PromptLookup([1, 2]).guess(5) == []
    assert PromptLookup([1, 2, 3, 9, 2, 3]).guess(5) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_guesses_are_what_followed_the_same_run(prompt: list[int], text: list[int]) -> None:
    lookup = PromptLookup(prompt)
    so_far = list(prompt)
    for token in text:
        guesses = lookup.guess(5)
        if guesses:
            run = so_far[-3:]
            places = [i for i in range(3, len(so_far)) if so_far[i - 3 : i] == run]
            assert so_far[places[-1] : places[-1] + len(guesses)] == guesses
        lookup.add([token])
        so_far.append(token)
