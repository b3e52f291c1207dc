"""What a projector takes of memory beside its model."""

from __future__ import annotations

from localq.formats.gguf import GGUFFile

__all__ = ["projector_bytes"]

_F32 = 4
_MOST_PATCHES = 1 << 14


def projector_bytes(file: GGUFFile) -> int:
    """Its weights, and room to compute a picture of its size: for each patch some six numbers wide
    as the embedding, and two as the feed-forward network."""

    def number(key: str) -> int:
        value = file.metadata.get(f"clip.vision.{key}")
        return value if type(value) is int and 0 < value < 1 << 20 else 0

    side = number("image_size") // max(1, number("patch_size"))
    patches = min(side * side, _MOST_PATCHES)
    width = 6 * number("embedding_length") + 2 * number("feed_forward_length")
    return file.size_bytes + _F32 * patches * width
