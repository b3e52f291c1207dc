"""How large a model of the library becomes in each type, to the byte."""

from __future__ import annotations

from collections.abc import Mapping

from localq.formats.types import QuantType
from localq.library import Library
from localq.services.fit.source import known_here
from localq.services.library.locate import locate_source

__all__ = ["sizes_to_make"]


def sizes_to_make(library: Library, name: str) -> Mapping[QuantType, int]:
    """Of what `quantize` makes of the model; types whose size is not known exactly are left out.
    Reads headers, no weights. NotFoundError, BadFileError, UnsupportedError."""
    offers = known_here(locate_source(library, name), every=True).offers
    return {offer.type: offer.size_bytes for offer in offers if offer.type and offer.exact_size}
