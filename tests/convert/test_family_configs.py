"""Configs that lie, one key at a time: every family converts or refuses, and never crashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert import Checkpoint, open_checkpoint
from localq.convert.families import family_of
from localq.convert.families.decoder import Decoder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.formats.gguf import encode_header
from localq.formats.rows import ArrayPiece, FilePiece, TensorSource
from tests.families import FAMILIES, read_family

LIES: tuple[Any, ...] = (
    *(None, True, "", "x", -1, 0, 1, 3, 10**30, 0.5, float("inf"), float("nan"), 1e300),
    *([], [1], [[]], {}, {"a": 1}, {"0": []}, "\ud800"),
)
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U8": 1}


def without_weights(
    root: Path,
    case: str,
    config: Mapping[str, Any] | None = None,
    more: Mapping[str, tuple[int, ...]] | None = None,
) -> Checkpoint:
    """The case's checkpoint with a file that is nothing but its header and a hole.

    `config` changes its config, `more` names further tensors.
    """
    family = read_family(case)
    root.mkdir(parents=True)
    header: dict[str, Any] = {}
    end = 0
    for name, shape in {**family.tensors, **(more or {})}.items():
        dtype = next((d for s, d in family.dtypes.items() if name.endswith(s)), family.dtype)
        start, end = end, end + _BYTES[dtype] * _product(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (root / f"{family.weights_stem}.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    (root / family.config_name).write_text(json.dumps({**family.config, **(config or {})}))
    return open_checkpoint(root)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def converter(checkpoint: Checkpoint) -> type[Decoder]:
    """The family's, without the tokenizer, which has tests of its own."""

    def vocabulary(self: Decoder, files: TokenizerFiles) -> None:
        pass

    family = family_of(checkpoint)
    return type(family.__name__, (family,), {"vocabulary": vocabulary})


@pytest.mark.parametrize("case", sorted(path.stem for path in FAMILIES.glob("*.json")))
def test_a_lying_config_is_converted_or_refused(case: str, tmp_path: Path) -> None:
    checkpoint = without_weights(tmp_path / case, case)
    family = converter(checkpoint)
    assert family(checkpoint).convert().tensors
    refused = 0
    for i, key in enumerate(sorted(checkpoint.config)):
        for lie in LIES[i % 3 :: 3]:
            config = {**checkpoint.config, key: lie}
            try:
                model = family(replace(checkpoint, config=config)).convert()
                encode_header(model.fields.items(), ())
            except LocalqError:
                refused += 1
    assert refused


def converted(root: Path, case: str, **changes: Any) -> dict[str, TensorSource]:
    checkpoint = without_weights(root / case, case, **changes)
    return {tensor.name: tensor for tensor in converter(checkpoint)(checkpoint).convert().tensors}


def test_stablelm_gathers_the_norms_of_its_heads(tmp_path: Path) -> None:
    wide = {
        name: tuple(384 if length == 128 else length for length in shape)
        for name, shape in read_family("stablelm2-tiny").tensors.items()
    }
    norms = wide | {
        f"model.layers.{layer}.self_attn.{kind}_layernorm.norms.{head}.weight": (32,)
        for layer in (0, 1)
        for kind in "qk"
        for head in range(12)
    }
    config = {"num_attention_heads": 12, "num_key_value_heads": 12, "hidden_size": 384}
    tensors = converted(tmp_path, "stablelm2-tiny", config=config, more=norms)
    merged = tensors["blk.1.attn_q_norm.weight"]
    assert merged.shape == (32, 12)
    offsets = [piece.offset for piece in merged.pieces if isinstance(piece, FilePiece)]
    assert offsets == sorted(offsets)  # not in the order of names, in which 10 precedes 2
    del norms["model.layers.1.self_attn.k_layernorm.norms.11.weight"]
    with pytest.raises(BadFileError, match="norms of heads are missing"):
        converted(tmp_path / "cut", "stablelm2-tiny", config=config, more=norms)


def test_gpt2_leaves_its_masks_out(tmp_path: Path) -> None:
    masks = {"h.0.attn.bias": (1, 1, 64, 64), "h.0.attn.masked_bias": (1,)}
    assert len(converted(tmp_path, "gpt2-tiny", more=masks)) == 2 + 2 + 2 * 12


@pytest.mark.parametrize(
    ("case", "config"),
    [
        ("falcon7-tiny", {"alibi": True}),
        ("falcon7-tiny", {"parallel_attn": False}),
        ("gpt2-tiny", {"scale_attn_by_inverse_layer_idx": True}),
        ("starcoder-tiny", {"multi_query": False}),
        ("nomic-tiny", {"prenorm": True}),
        ("nomic-tiny", {"moe_every_n_layers": 2}),
        ("qwen2-moe", {"mlp_only_layers": [1]}),
        ("qwen3-moe", {"decoder_sparse_step": 2}),
        ("exaone4-tiny", {"sliding_window": 4096}),
        ("gemma3n-tiny", {"altup_num_inputs": 2}),
        ("gemma4-tiny", {"num_kv_shared_layers": 4}),
        ("mamba-tiny", {"intermediate_size": 64}),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    tmp_path: Path, case: str, config: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError, match=r"llama\.cpp"):
        converted(tmp_path, case, config=config)


def test_falcon_7b_ignores_its_count_of_key_heads(tmp_path: Path) -> None:
    checkpoint = without_weights(tmp_path / "x", "falcon7-tiny", {"num_kv_heads": 71})
    model = converter(checkpoint)(checkpoint).convert()
    assert model.fields["falcon.attention.head_count_kv"].value == 1


def test_cohere2_leaves_out_biases_of_zeros_only(tmp_path: Path) -> None:
    bias = {"model.layers.0.input_layernorm.bias": (128,)}
    checkpoint = without_weights(tmp_path / "x", "cohere2-tiny", more=bias)
    assert converter(checkpoint)(checkpoint).convert()
    source = checkpoint.tensors["model.layers.0.input_layernorm.bias"]
    with source.path.open("r+b") as file:
        file.seek(source.info.offset)
        file.write(b"\x80\x3f")
    with pytest.raises(UnsupportedError, match="no bias"):
        converter(checkpoint)(checkpoint).convert()


def test_llama3_factors_agree_with_torch_to_the_last_bit(tmp_path: Path) -> None:
    """What `conversion/llama.py` computes of this config; float32 powers would give others."""
    rope = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 3.0,
        "original_max_position_embeddings": 64,
    }
    heads = {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = {"rope_scaling": rope, "rope_theta": 50000.0, **heads}
    (piece,) = converted(tmp_path, "mistral-tiny", config=config)["rope_freqs.weight"].pieces
    assert isinstance(piece, ArrayPiece)
    between = [float.fromhex("0x1.30cb70p+0"), float.fromhex("0x1.d3f3dep+1")]
    assert piece.values[0].tolist() == [1.0, 1.0, *between, *[8.0] * 12]


@pytest.mark.parametrize("case", ["gemma-tiny", "gemma2-tiny", "gemma3-tiny"])
def test_gemma_adds_one_in_the_precision_of_the_checkpoint(case: str, tmp_path: Path) -> None:
    checkpoint = without_weights(tmp_path / "x", case)
    family = converter(checkpoint)(checkpoint)
    weights = np.array([[0.1, -0.3, 7.0]], np.float32)
    for dtype, stored in (("F16", np.float16), ("BF16", np.float32), ("F32", np.float32)):
        add = family.transform("model.norm.weight", dtype)
        assert add is not None
        assert (add(0, weights) == (weights + 1).astype(stored)).all()


def test_dots1_calls_its_sigmoid_otherwise(tmp_path: Path) -> None:
    checkpoint = without_weights(tmp_path / "x", "dots1-tiny", {"scoring_func": "noaux_tc"})
    assert converter(checkpoint)(checkpoint).convert().fields["dots1.expert_gating_func"].value == 2


def add_dense(root: Path, **config: Any) -> None:
    """A matrix behind the pooling of an embedder, as sentence-transformers saves it."""
    kind = "sentence_transformers.models.Dense"
    folder = root / "2_Dense"
    folder.mkdir()
    (root / "modules.json").write_text(json.dumps([{"path": "2_Dense", "type": kind}]))
    about = {"in_features": 96, "out_features": 128, "bias": False, **config}
    (folder / "config.json").write_text(json.dumps(about))
    header = {"linear.weight": {"dtype": "F32", "shape": [128, 96], "data_offsets": [0, 49152]}}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 49152)


def test_an_embedder_keeps_its_dense_layer(tmp_path: Path) -> None:
    checkpoint = without_weights(tmp_path / "x", "embedding-gemma")
    add_dense(checkpoint.root)
    model = converter(checkpoint)(checkpoint).convert()
    assert (model.tensors[0].name, model.tensors[0].shape) == ("dense_2.weight", (96, 128))
    assert model.fields["gemma-embedding.dense_2_feat_out"].value == 128


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"bias": True}, "matrices alone"),
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, "matrices alone"),
        ({"out_features": 64}, "has shape"),
    ],
)
def test_a_dense_layer_of_another_kind_is_refused(
    tmp_path: Path, config: dict[str, Any], complaint: str
) -> None:
    checkpoint = without_weights(tmp_path / "x", "embedding-gemma")
    add_dense(checkpoint.root, **config)
    with pytest.raises((BadFileError, UnsupportedError), match=complaint):
        converter(checkpoint)(checkpoint).convert()
