"""Pictures among tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.engine.picture_places import PicturePlaces
from localq.engine.picture_tokens import (
    is_picture,
    picture_entries,
    picture_key,
    pictures_in,
    position,
    whole_length,
)
from localq.engine.prefix_tree import common_prefix
from localq.engine.projector import PictureChunk

PICTURE = st.tuples(st.integers(0, 3), st.integers(1, 6)).map(
    lambda given: picture_entries(given[0], given[1], 1 + given[0] % given[1])
)
TEXT = st.lists(
    st.one_of(PICTURE, st.lists(st.integers(0, 9), min_size=1, max_size=3)), max_size=6
).map(lambda parts: [token for part in parts for token in part])


@given(TEXT)
def test_all_that_is_in_a_text_is_found_again(tokens: list[int]) -> None:
    found = list(pictures_in(tokens))
    assert sum(end - start for _, start, end in found) == sum(map(is_picture, tokens))
    chunks = {key: PictureChunk(key, None, end - start) for key, start, end in found}
    sizes = {(key, end - start) for key, start, end in found}
    if len(sizes) == len(chunks):  # a picture always takes as many places
        places = PicturePlaces.of(tokens, chunks)
        assert len(places.places) == len(found)
        for place in places.places:
            assert picture_key(tokens[place.start]) == place.chunk.key
        whole = position(tokens, len(tokens))
        assert whole == len(tokens) - places.shared(len(tokens))


@given(TEXT, TEXT)
def test_what_two_texts_share_is_whole(one: list[int], other: list[int]) -> None:
    shared = whole_length(one, common_prefix(one, other))
    assert one[:shared] == other[:shared]
    inside = any(start < shared < end for _, start, end in pictures_in(one))
    assert not inside


def test_what_is_not_whole_is_refused() -> None:
    tokens = [5, *picture_entries(7, 4, 2), 6]
    chunks = {7: PictureChunk(7, None, 4)}
    assert PicturePlaces.of(tokens, chunks).shared(len(tokens)) == 2
    for wrong in ([5, *tokens[2:]], tokens[:3], [-1, 5], [*tokens, -2]):
        with pytest.raises(ValueError, match="picture"):
            PicturePlaces.of(wrong, chunks)
    with pytest.raises(ValueError, match="not there"):
        PicturePlaces.of(tokens, {})
    with pytest.raises(ValueError, match="places"):
        picture_entries(1, 2, 3)
