"""Models in several files: model-00001-of-00004.safetensors."""

from __future__ import annotations

import re
from collections.abc import Sequence

from localq.messages import msg

__all__ = ["missing_shards", "without_shard"]

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.(safetensors|gguf|bin)", re.IGNORECASE)


def missing_shards(names: Sequence[str]) -> str | None:
    """What is wrong with a set of files of one model, to follow "has"; None: it is whole."""
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    if not shards:
        return None
    expected = int(shards[0][3])
    if sorted(int(match[2]) for match in shards) == list(range(1, expected + 1)):
        return None
    return msg(
        "only some of the {expected} parts of {shards}",
        expected=expected,
        shards=shards[0][1][:120],
    )


def without_shard(path: str) -> str:
    """The path without its ending, the same for all parts of a model."""
    match = _SHARD.fullmatch(path)
    return match[1] if match else path.rpartition(".")[0]
