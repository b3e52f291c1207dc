"""Mistral's own config, params.json: what it says in transformers' words, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localq.convert import convert_checkpoint, open_checkpoint
from localq.errors import BadFileError, LocalqError, UnsupportedError
from tests.checkpoints import read_safetensors, write_safetensors
from tests.families import write_family


@pytest.fixture
def own(material: Path, tmp_path: Path) -> Path:
    return write_family(tmp_path / "own", "mistral-own", material)


def change(root: Path, **changes: Any) -> None:
    path = root / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("key", ["moe", "quantization", "lora"])
def test_another_kind_of_model_is_refused(own: Path, key: str) -> None:
    change(own, **{key: {"rank": 1}})
    with pytest.raises(UnsupportedError, match=rf"params\.json: localq does not know '{key}'"):
        open_checkpoint(own)


def test_a_context_that_is_not_named_is_told(own: Path) -> None:
    params = json.loads((own / "params.json").read_text())
    del params["max_position_embeddings"]
    (own / "params.json").write_text(json.dumps(params))
    model = convert_checkpoint(open_checkpoint(own))
    assert model.fields["llama.context_length"].value == 32768
    assert any("names no context" in warning for warning in model.warnings)
    change(own, max_seq_len=4096)
    assert convert_checkpoint(open_checkpoint(own)).fields["llama.context_length"].value == 4096


def test_the_part_that_sees_is_left_out(own: Path) -> None:
    path = own / "consolidated.safetensors"
    tensors = read_safetensors(path)
    more = {
        name: ("BF16", (4, 4), bytes(32))
        for name in (
            "vision_encoder.patch_conv.weight",
            "vision_encoder.transformer.layers.0.attention.wq.weight",
            "vision_language_adapter.w_in.weight",
            "patch_merger.merging_layer.weight",
        )
    }
    change(own, vision_encoder={"hidden_size": 4})
    before = [tensor.name for tensor in convert_checkpoint(open_checkpoint(own)).tensors]
    write_safetensors(path, {**tensors, **more}, {"format": "pt"})
    assert [tensor.name for tensor in convert_checkpoint(open_checkpoint(own)).tensors] == before


def test_an_output_that_is_missing_is_no_tied_one(own: Path) -> None:
    path = own / "consolidated.safetensors"
    tensors = read_safetensors(path)
    del tensors["output.weight"]
    write_safetensors(path, tensors, {"format": "pt"})
    with pytest.raises(BadFileError, match=r"nothing in it becomes output\.weight"):
        convert_checkpoint(open_checkpoint(own))
    change(own, tied_embeddings=True)
    assert convert_checkpoint(open_checkpoint(own)).tensors


@pytest.mark.parametrize("yarn", [{}, {"factor": "x"}, {"factor": 2.0, "beta": 1, "alpha": None}])
def test_a_stretch_that_makes_no_sense_is_refused(own: Path, yarn: object) -> None:
    change(own, yarn=yarn)
    with pytest.raises(LocalqError):
        convert_checkpoint(open_checkpoint(own))
