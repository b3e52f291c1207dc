"""Where in a text its pictures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from localq.engine.picture_tokens import is_picture, picture_entries, pictures_in, position
from localq.engine.projector import PictureChunk

__all__ = ["PicturePlace", "PicturePlaces"]


@dataclass(frozen=True, slots=True)
class PicturePlace:
    """`chunk` stands for the tokens from `start` to `end`."""

    chunk: PictureChunk
    start: int
    end: int
    shared: int
    """So many of them are at a position that others have too."""


@dataclass(frozen=True, slots=True)
class PicturePlaces:
    places: tuple[PicturePlace, ...]

    @classmethod
    def of(cls, tokens: Sequence[int], chunks: Mapping[int, PictureChunk]) -> Self:
        """Those in `tokens`, of which `chunks` are known by their hashes. ValueError where one is
        not, or is not whole."""
        places = []
        for key, start, end in pictures_in(tokens):
            shared = end - start - position(tokens[start:end], end - start)
            chunk = chunks.get(key)
            entries = picture_entries(key, end - start, end - start - shared)
            if chunk is None or chunk.tokens != end - start or tokens[start:end] != entries:
                raise ValueError("a picture that is not there")
            places.append(PicturePlace(chunk, start, end, shared))
        if sum(map(is_picture, tokens)) != sum(one.end - one.start for one in places):
            raise ValueError("a part of a picture")
        return cls(tuple(places))

    def __bool__(self) -> bool:
        return bool(self.places)

    def next(self, read: int) -> PicturePlace | None:
        """The first one that a text of which `read` tokens were read has not read."""
        return next((place for place in self.places if place.start >= read), None)

    def shared(self, read: int) -> int:
        """How many of the first `read` tokens are at a position of others."""
        return sum(place.shared for place in self.places if place.end <= read)
