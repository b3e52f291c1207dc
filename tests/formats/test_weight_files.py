"""Which files are the weights: by the index, by numbers, by being the only one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from localq.formats.weight_files import (
    AmbiguousWeightsError,
    IncompleteWeightsError,
    WeightFiles,
    find_weight_files,
)

INDEX = "model.safetensors.index.json"
PICKLED_INDEX = "pytorch_model.bin.index.json"
SHARDS = tuple(f"model-0000{n}-of-00002.safetensors" for n in (1, 2))


def find(*names: str, index: tuple[str, ...] | Mapping[str, Any] = ()) -> WeightFiles | None:
    if not isinstance(index, Mapping):
        index = {"weight_map": {f"t{i}": name for i, name in enumerate(index)}}
    content = index
    return find_weight_files(names, lambda name: content)


def test_what_the_index_names_is_taken_whatever_it_is_called() -> None:
    parts = ("part-a.safetensors", "mtp.safetensors")
    beside = ("model-extra.safetensors", "tokenizer.json")
    found = find(*parts, *beside, INDEX, index=parts)
    assert found == WeightFiles(("mtp.safetensors", "part-a.safetensors"), INDEX)
    both = ("model.safetensors", "mtp.safetensors")
    assert find(*both, INDEX, index=both) == WeightFiles(tuple(sorted(both)), INDEX)


def test_of_two_sets_in_one_folder_one_is_taken() -> None:
    original = ("consolidated.safetensors", "consolidated-00001-of-00002.safetensors")
    assert find("model.safetensors", *SHARDS, INDEX, index=SHARDS) == WeightFiles(
        ("model.safetensors",)
    )
    assert find(*SHARDS, *original, INDEX, index=SHARDS) == WeightFiles(SHARDS, INDEX)
    other = "model-00001-of-00001.safetensors"
    assert find(*SHARDS, other, INDEX, index=SHARDS) == WeightFiles(SHARDS, INDEX)
    with pytest.raises(AmbiguousWeightsError, match="more than one set"):
        find(*SHARDS, other)
    with pytest.raises(AmbiguousWeightsError, match="2 files of weights and no index"):
        find("a.safetensors", "b.safetensors")


def test_mistrals_own_layout_is_read_where_there_is_no_other() -> None:
    own = ("consolidated.safetensors", "params.json")
    assert find(*own) == WeightFiles(("consolidated.safetensors",))
    assert find(*own, "model.safetensors") == WeightFiles(("model.safetensors",))
    assert find("consolidated.safetensors") is None
    parts = tuple(f"consolidated-0000{i}-of-00002.safetensors" for i in (1, 2))
    assert find(*parts, "params.json") == WeightFiles(parts)


def test_a_single_file_may_bear_any_name() -> None:
    assert find("weights.safetensors", "optimizer.safetensors") == WeightFiles(
        ("weights.safetensors",)
    )
    assert find("adapter_model.safetensors", "consolidated.safetensors", "x.bin") is None


@pytest.mark.parametrize("names", [SHARDS[:1], SHARDS[1:]])
def test_a_shard_without_its_sister_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(IncompleteWeightsError, match="1 of the 2 parts of model are missing"):
        find(*names)
    with pytest.raises(IncompleteWeightsError, match="names 2 files, of which 1 are not there"):
        find(*names, INDEX, index=SHARDS)


def test_safetensors_come_before_pickles() -> None:
    pickles = tuple(f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2))
    assert find(*pickles, PICKLED_INDEX, "training_args.bin", index=pickles) == WeightFiles(
        pickles, PICKLED_INDEX, pickled=True
    )
    assert find(*pickles, *SHARDS) == WeightFiles(SHARDS)


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"a": "../x.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "b\\c.safetensors"}},
        {"weight_map": {"a": ""}},
        {"weight_map": {"a": None}},
    ],
)
def test_an_index_that_makes_no_sense_is_refused(index: dict[str, Any]) -> None:
    with pytest.raises(IncompleteWeightsError):
        find("a.safetensors", INDEX, index=index)
