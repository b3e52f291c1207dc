"""What the files of a model say of themselves, whatever its format."""

from __future__ import annotations

from localq.library import Model

__all__ = ["parameters_of"]


def parameters_of(model: Model) -> int:
    """The weights that its files' headers tell of. LocalqError where they cannot be read."""
    if model.format.is_file:
        from localq.formats.gguf_split import read_shards

        return sum(shard.parameters for shard in read_shards(model.path))
    from localq.convert import open_checkpoint

    return open_checkpoint(model.path).parameters
