"""Shapes by the metadata: llama.cpp's own files fit, and each single change of one is found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localq.convert.families import ARCHITECTURES, family_class
from localq.formats.tensor_shapes import CHECKED_ARCHITECTURES, expected_shape, wrong_shapes

_REFERENCE = Path(__file__).parents[1] / "data" / "reference"
_FAMILIES = Path(__file__).parents[1] / "data" / "families"
CASES = sorted(path.stem for path in _REFERENCE.glob("*.json") if path.stem != "weighed")


@dataclass(frozen=True)
class Named:
    name: str
    shape: tuple[int, ...]


def read_case(case: str) -> tuple[dict[str, Any], list[Named]]:
    """Metadata and tensors of the file that llama.cpp's converter made of the case."""
    record = json.loads((_REFERENCE / f"{case}.json").read_text())
    output = record["outputs"][record["lossless"]]
    metadata = {key: value for key, _, value in output["metadata"]}
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, dict):  # recorded as their hash
        metadata["tokenizer.ggml.tokens"] = ["x"] * tokens["length"]
    widths = f"{metadata['general.architecture']}.feed_forward_length"
    if isinstance(metadata.get(widths), dict):  # of many layers, likewise
        config = json.loads((_FAMILIES / f"{case}.json").read_text())["config"]
        metadata[widths] = config["intermediate_size"]
    return metadata, [Named(name, tuple(shape)) for name, _, shape, _ in output["tensors"]]


@pytest.mark.parametrize("case", CASES)
def test_llama_cpps_tensors_have_the_shapes_that_are_expected(case: str) -> None:
    metadata, tensors = read_case(case)
    assert [t.name for t in tensors if expected_shape(metadata, t.name) is None] == []
    assert list(wrong_shapes(metadata, tensors)) == []


@pytest.mark.parametrize("case", CASES)
def test_each_tensor_of_another_shape_is_found(case: str) -> None:
    metadata, tensors = read_case(case)
    for tensor in tensors:
        for axis in range(len(tensor.shape)):
            longer = [length + (i == axis) for i, length in enumerate(tensor.shape)]
            changed = Named(tensor.name, tuple(longer))
            assert [wrong.name for wrong in wrong_shapes(metadata, [changed])] == [tensor.name]


def test_every_family_that_is_converted_is_checked() -> None:
    families = {family_class(name).architecture for name in ARCHITECTURES}
    assert families | {"nemotron_h_moe"} == CHECKED_ARCHITECTURES  # of a class with nemotron_h


@pytest.mark.parametrize(
    "value", [None, -1, True, "x", 1.5, [], [None], 10**30], ids=lambda value: str(value)[:5]
)
def test_metadata_that_says_nothing_sensible_gives_no_shape(value: object) -> None:
    metadata = {"general.architecture": "llama", "llama.embedding_length": value}
    shape = expected_shape(metadata, "blk.0.ffn_norm.weight")
    assert shape is None or shape == (value,)
    assert expected_shape(metadata, "blk.0.attn_q.weight") is None


def test_other_architectures_and_names_are_not_checked() -> None:
    assert expected_shape({"general.architecture": "rwkv7"}, "token_embd.weight") is None
    assert expected_shape({"general.architecture": "llama"}, "mm.0.weight") is None
    assert expected_shape({}, "output_norm.weight") is None
