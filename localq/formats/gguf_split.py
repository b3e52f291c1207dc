"""Models in several GGUF files: NAME-00001-of-00003.gguf and so on.

The first file holds the metadata, each its own tensors; `split.count` says how many there are
(llama.cpp `tools/gguf-split`, `src/llama.cpp`'s llama_split_path).
"""

from __future__ import annotations

import re
from pathlib import Path

from localq.errors import BadFileError, NotFoundError
from localq.formats.gguf import GGUFFile, read_gguf
from localq.messages import msg

__all__ = ["read_shards", "shard_name", "shard_paths"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def shard_name(stem: str, number: int, count: int) -> str:
    """The name of shard `number` (from 1) of `count`."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def shard_paths(single: Path, count: int) -> list[Path]:
    """The files of a model in `count` parts, which would be `single` in one."""
    if count == 1:
        return [single]
    return [
        single.with_name(shard_name(single.stem, number, count)) for number in range(1, count + 1)
    ]


def read_shards(path: Path) -> tuple[GGUFFile, ...]:
    """The model at `path`: a single file, or all shards of the one whose shard it is.

    Raises NotFoundError for a shard that is not there, BadFileError for shards that do not agree.
    """
    first = read_gguf(path)
    count = first.metadata.get("split.count", 0)
    match = _SHARD.fullmatch(path.name)
    if not isinstance(count, int) or count < 2:
        return (first,)
    if match is None or int(match["count"]) != count:
        raise BadFileError(
            path,
            msg("is one of {count} files of a model, but not named so", count=count),
            hint=msg(
                "give it its name back: {shard_name}", shard_name=shard_name(path.stem, 1, count)
            ),
        )
    shards = []
    for number in range(1, count + 1):
        shard = path.with_name(shard_name(match["stem"], number, count))
        if not shard.is_file():
            raise NotFoundError(
                msg("{shard}: no such file, one of the model's {count}", shard=shard, count=count),
                hint=msg("get the missing file"),
            )
        file = read_gguf(shard)
        if file.metadata.get("split.no") != number - 1 or file.metadata.get("split.count") != count:
            raise BadFileError(shard, msg("does not belong to the other files of the model"))
        shards.append(file)
    names = [tensor.name for file in shards for tensor in file.tensors]
    if len(set(names)) != len(names):
        raise BadFileError(path, msg("the files of the model hold the same tensor twice"))
    return tuple(shards)
