"""Which of a folder's files hold the weights of a checkpoint: the same rules on disk, on the Hub
and in other tools' folders.

As transformers has it: `model.safetensors` alone, else what the index names, whatever those files
are called; PyTorch's files only where there are no safetensors, and Mistral's own layout
(consolidated.safetensors beside params.json) only where there is nothing else. Files beside them,
such as a second copy of the weights in that layout, are no part of the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "INDEXES",
    "AmbiguousWeightsError",
    "IncompleteWeightsError",
    "WeightFiles",
    "find_weight_files",
    "index_files",
]

_MOST_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """`names`, sorted; `index`, where they were named by one; `pickled`: PyTorch's format."""

    names: tuple[str, ...]
    index: str | None = None
    pickled: bool = False


class IncompleteWeightsError(Exception):
    """Files are missing, or an index makes no sense; the text says what, to follow a name."""


class AmbiguousWeightsError(Exception):
    """Nothing says which of several files are the weights."""


@dataclass(frozen=True, slots=True)
class _Kind:
    stem: str
    suffix: str
    pickled: bool = False
    own: bool = False
    """In the layout of the model's author, which is read only where there is no other."""

    @property
    def single(self) -> str:
        return f"{self.stem}{self.suffix}"

    @property
    def index(self) -> str:
        return f"{self.single}.index.json"


_KINDS = (
    _Kind("model", ".safetensors"),
    _Kind("pytorch_model", ".bin", pickled=True),
    _Kind("consolidated", ".safetensors", own=True),
)
_OWN_CONFIG = "params.json"
INDEXES = frozenset(kind.index for kind in _KINDS)

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.(?:safetensors|bin))")
_OTHERS = re.compile(r"(consolidated|adapter_model|training|optimizer)[^/]*")
"""Weights in another layout, of an adapter, or none at all."""


def find_weight_files(
    names: Collection[str], read_index: Callable[[str], Mapping[str, Any]]
) -> WeightFiles | None:
    """The weights among `names`, the files directly in one folder; None where there are none.

    `read_index` gives the content of an index that is among them. Raises IncompleteWeightsError
    and AmbiguousWeightsError.
    """
    present = set(names)
    for kind in _KINDS:
        if kind.own and _OWN_CONFIG not in present:
            continue
        if found := _of_kind(kind, present, read_index):
            return found
    return None


def index_files(index: Mapping[str, Any]) -> frozenset[str]:
    """The files that an index names; IncompleteWeightsError where it names none."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise IncompleteWeightsError("has no weight_map")
    files = set(map(str, weight_map.values()))
    if len(files) > _MOST_SHARDS:
        raise IncompleteWeightsError(f"names {len(files):,} files")
    for file in files:
        if not file or file.startswith(".") or re.search(r"[/\\\0]", file):
            raise IncompleteWeightsError(f"names a file outside the folder: {file[:200]!r}")
    return frozenset(files)


def _of_kind(
    kind: _Kind, present: set[str], read_index: Callable[[str], Mapping[str, Any]]
) -> WeightFiles | None:
    mine = {
        name
        for name in present
        if name.endswith(kind.suffix)
        and (kind.own or not _OTHERS.match(name))
        and (name.startswith(kind.stem) or not (kind.pickled or kind.own))
    }
    index = kind.index if kind.index in present else None
    if index and not _is_one_set(mine):
        wanted = index_files(read_index(index))
        # Whole weights in one file beside shards are a second copy, and need no index.
        if kind.single not in present or kind.single in wanted:
            if missing := sorted(wanted - present):
                raise IncompleteWeightsError(
                    f"{index} names {len(wanted)} files, of which {len(missing)} are not there, "
                    f"such as {missing[0][:200]}"
                )
            return WeightFiles(tuple(sorted(wanted)), index, kind.pickled)
    if kind.single in present:
        return WeightFiles((kind.single,), None, kind.pickled)
    chosen = {name for name in mine if name.startswith(kind.stem)} or mine
    if not chosen:
        return None
    return WeightFiles(_whole(chosen), index, kind.pickled)


def _is_one_set(names: set[str]) -> bool:
    """Whether the names alone say that these files, and no others, are the weights."""
    matches = [_SHARD.fullmatch(name) for name in names]
    counts = {match[3] for match in matches if match}
    return all(matches) and len(counts) == 1 and len(names) == int(counts.pop())


def _whole(names: set[str]) -> tuple[str, ...]:
    """Without an index: numbered shards that are all there, or a single file."""
    shards: dict[tuple[str, str], set[int]] = {}
    for name in names:
        if match := _SHARD.fullmatch(name):
            shards.setdefault((match[1], match[3]), set()).add(int(match[2]))
    if not shards:
        if len(names) > 1:
            shown = ", ".join(sorted(names)[:3])
            raise AmbiguousWeightsError(f"has {len(names)} files of weights and no index ({shown})")
        return tuple(names)
    if len(shards) > 1:
        sets = " and ".join(f"{stem}-*-of-{count}" for stem, count in sorted(shards)[:3])
        raise AmbiguousWeightsError(f"has more than one set of weights and no index ({sets})")
    ((stem, count), numbers), *_ = shards.items()
    if missing := sorted(set(range(1, int(count) + 1)) - numbers):
        raise IncompleteWeightsError(
            f"{len(missing)} of the {int(count)} parts of {stem[:120]} are missing, "
            f"such as number {missing[0]}"
        )
    return tuple(sorted(name for name in names if _SHARD.fullmatch(name)))
