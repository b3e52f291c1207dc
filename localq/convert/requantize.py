"""A GGUF as the source of another: the same fields, and its tensors' rows as they are stored."""

from __future__ import annotations

from pathlib import Path

from localq.convert.model import ConvertedModel
from localq.errors import BadFileError, UnsupportedError
from localq.formats.gguf import GGUFFile, GGUFTensor
from localq.formats.gguf_split import read_shards
from localq.formats.rows import FilePiece, TensorSource
from localq.formats.types import TensorType
from localq.messages import msg

__all__ = ["open_gguf"]


def open_gguf(path: Path) -> ConvertedModel:
    """The model at `path` (one file or the first of several), headers only.

    Raises UnsupportedError for tensors of a type localq does not know.
    """
    shards = read_shards(path)
    tensors = tuple(_source(shard, tensor) for shard in shards for tensor in shard.tensors)
    return ConvertedModel(shards[0].architecture, shards[0].fields, tensors)


def _source(shard: GGUFFile, tensor: GGUFTensor) -> TensorSource:
    if not isinstance(tensor.type, TensorType):
        raise UnsupportedError(
            msg(
                "{path}: tensor {name!r} is of the unknown type {type}",
                path=shard.path,
                name=tensor.name[:200],
                type=tensor.type,
            ),
            hint=msg("a newer localq may know it"),
        )
    if not tensor.shape or 0 in tensor.shape:
        raise BadFileError(shard.path, msg("tensor {name!r} is empty", name=tensor.name[:200]))
    columns = tensor.shape[0]
    rows = tensor.elements // columns
    piece = FilePiece(shard.path, tensor.offset, tensor.type.name, rows, columns)
    return TensorSource(tensor.name, tensor.shape, (piece,))
