"""Strings that end a text, wherever the text is cut into pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localq.engine.stop_strings import StopStrings

LETTERS = st.text("abc", max_size=12)


@settings(deadline=None)
@given(st.lists(LETTERS, max_size=12), st.lists(st.text("abc", max_size=4), max_size=3))
def test_a_text_ends_before_the_first(pieces: list[str], strings: list[str]) -> None:
    stops = StopStrings(strings)
    shown = ""
    for piece in pieces:
        shown += stops.feed(piece)
        assert stops.found is None or not stops.feed("abc")
    shown += stops.rest()
    text = "".join(pieces)
    places = [at for string in strings if string and (at := text.find(string)) >= 0]
    if stops.found is None:
        assert not places
        assert shown == text
    else:
        # A later string can begin earlier; what has been shown cannot be taken back.
        assert shown + stops.found == text[: len(shown) + len(stops.found)]
        assert stops.found in strings
        assert not any(string and string in shown for string in strings)


def test_what_may_become_a_stop_is_kept_back() -> None:
    stops = StopStrings(["</end>", "STOP"])
    assert stops.feed("one </e") == "one "
    assert stops.feed("x ST") == "</ex "
    assert stops.feed("OPPED") == ""
    assert stops.found == "STOP"
    assert stops.rest() == ""


def test_what_did_not_become_one_is_shown_at_the_end() -> None:
    stops = StopStrings(["</end>"])
    assert stops.feed("one </en") == "one "
    assert stops.rest() == "</en"
    assert StopStrings(["", "x"]).feed("abc") == "abc"
