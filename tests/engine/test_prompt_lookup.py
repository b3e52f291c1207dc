"""Guesses from the text itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.prompt_lookup import PromptLookup


def follow(lookup: PromptLookup, text: list[int], limit: int = 99) -> tuple[int, int, int]:
    """Let a text go on; how many tokens, batches and guesses that took."""
    at = batches = guessed = 0
    while at < len(text):
        guesses = lookup.guess(limit)
        right = 0
        while right < len(guesses) and text[at + right : at + right + 1] == [guesses[right]]:
            right += 1
        taken = text[at : at + right + 1]
        lookup.learn(taken, len(guesses) if len(taken) > right else right)
        at += len(taken)
        batches += 1
        guessed += len(guesses)
    return at, batches, guessed


def test_a_text_that_repeats_itself_takes_few_batches() -> None:
    text = list(range(200))
    lookup = PromptLookup([*text, 999], 8)
    tokens, batches, _ = follow(lookup, text)
    assert tokens == 200
    assert batches < 40


def test_a_text_that_is_new_costs_nothing() -> None:
    lookup = PromptLookup(list(range(200)), 8)
    assert follow(lookup, list(range(1000, 1200))) == (200, 200, 0)


def test_wrong_guesses_are_soon_given_up() -> None:
    prompt = [token for i in range(100) for token in (1, 2, 3, 100 + i)]
    lookup = PromptLookup(prompt, 8)
    text = [token for i in range(500) for token in (1, 2, 3, 1000 + i)]
    _, _, guessed = follow(lookup, text)
    assert guessed < len(text) // 10


def test_no_more_than_asked_for() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3], 8)
    assert lookup.guess(99) == [4, 5, 6, 1]
    assert lookup.guess(2) == [4, 5]
    assert lookup.guess(0) == []
    assert PromptLookup([1, 2], 8).guess(5) == []
    lookup.learn([4, 5, 6, 1, 9], 4)  # all right: twice as many next time
    lookup.learn([1, 2, 3], 0)
    assert len(lookup.guess(99)) == 8


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_guesses_are_what_followed_the_same_run(prompt: list[int], text: list[int]) -> None:
    lookup = PromptLookup(prompt, 5)
    so_far = list(prompt)
    for token in text:
        guesses = lookup.guess(5)
        if guesses:
            run = so_far[-3:]
            places = [i for i in range(3, len(so_far)) if so_far[i - 3 : i] == run]
            assert so_far[places[-1] : places[-1] + len(guesses)] == guesses
        lookup.learn([token], 0)
        so_far.append(token)
