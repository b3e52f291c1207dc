"""What the files of a model say of themselves, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence

from localq.errors import BadFileError
from localq.formats.gguf import GGUFFile
from localq.formats.tensor_shapes import wrong_shapes
from localq.library import Model, ModelFormat
from localq.messages import msg

__all__ = ["parameters_of", "refuse_wrong_shapes"]


def parameters_of(model: Model) -> int:
    """The weights that its files' headers tell of. LocalqError where they cannot be read, or do
    not go together."""
    if model.format.is_file:
        from localq.formats.gguf_split import read_shards

        shards = read_shards(model.path)
        refuse_wrong_shapes(shards)
        return sum(shard.parameters for shard in shards)
    if model.format is ModelFormat.INT4:
        from localq.gpu_quant.checkpoint import read_int4

        return read_int4(model.path).parameters
    from localq.convert import open_checkpoint

    return open_checkpoint(model.path).parameters


def refuse_wrong_shapes(shards: Sequence[GGUFFile]) -> None:
    """BadFileError for a model that llama.cpp would not load, as its metadata is of another."""
    for shard in shards:
        for wrong in wrong_shapes(shards[0].metadata, shard.tensors):
            raise BadFileError(
                shard.path,
                msg(
                    "tensor {name} has shape {list}, but by its metadata it is {list2};"
                    " llama.cpp would not load it",
                    name=wrong.name,
                    list=list(wrong.shape),
                    list2=list(wrong.expected),
                ),
                hint=msg("get or make the model again"),
            )
