"""The types of every mixture are llama-quantize's, on published models in their true sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from localq.formats.gguf import Plain
from localq.formats.types import QuantType, TensorType
from localq.quantize.mixture import choose_types
from localq.quantize.options import QuantOptions
from localq.quantize.tensor_roles import ModelTraits, TensorShape
from tests.mixtures import MIXTURES, Model, convert_headers, fold, read_mixture, unfold


@pytest.mark.parametrize("name", sorted(path.stem for path in MIXTURES.glob("*.json")))
def test_every_tensor_gets_llama_quantizes_type(name: str, tmp_path: Path) -> None:
    mixture = read_mixture(name)
    model = Model(convert_headers(mixture.config, mixture.tensors, tmp_path))
    for with_matrix, expected in ((False, mixture.types), (True, mixture.with_matrix)):
        chosen = {t.name: model.types(t, with_matrix=with_matrix) for t in QuantType}
        assert chosen == dict(expected), f"with a matrix: {with_matrix}"


# What only a GGUF made elsewhere has: architectures that localq does not convert.


def types_of(
    metadata: Mapping[str, Plain], shapes: Mapping[str, tuple[int, ...]], quant: QuantType
) -> dict[str, str]:
    tensors = [
        TensorShape(f"{name}.weight", shape, TensorType.BF16) for name, shape in shapes.items()
    ]
    chosen = choose_types(QuantOptions(quant), tensors, ModelTraits.from_metadata(metadata))
    return {name: type_.name for name, type_ in zip(shapes, chosen, strict=True)}


@pytest.mark.parametrize(
    ("architecture", "more", "early"),
    [
        ("llama", {}, 2),
        ("nanbeige", {"num_loops": 2}, 4),
        ("graniteswitch", {"block_count": 23}, 3),
        ("graniteswitch", {"block_count": 24, "nextn_predict_layers": 1}, 3),
    ],
)
def test_the_layers_llama_cpp_counts(
    architecture: str, more: Mapping[str, int], early: int
) -> None:
    keys = {"block_count": 16, "attention.head_count": 8, **more}
    metadata: dict[str, Plain] = {f"{architecture}.{key}": value for key, value in keys.items()}
    metadata["general.architecture"] = architecture
    shapes = {f"blk.{i}.ffn_down": (512, 512) for i in range(8)}
    chosen = types_of(metadata, shapes, QuantType.Q4_K_S)
    assert list(chosen.values()) == ["Q5_K"] * early + ["Q4_K"] * (8 - early)


@pytest.mark.parametrize(
    ("architecture", "kv_heads", "values"),
    [("llama", 8, "Q5_K"), ("llama-embed", 8, "Q5_K"), ("llama", 64, "Q3_K"), ("phi3", 8, "Q4_K")],
)
def test_values_of_eighty_layers(architecture: str, kv_heads: int, values: str) -> None:
    metadata: dict[str, Plain] = {
        "general.architecture": architecture,
        f"{architecture}.block_count": 80,
        f"{architecture}.attention.head_count": 64,
        f"{architecture}.attention.head_count_kv": kv_heads,
    }
    assert types_of(metadata, {"blk.0.attn_v": (512, 512)}, QuantType.Q2_K) == {
        "blk.0.attn_v": values
    }


def test_what_one_architecture_alone_keeps() -> None:
    names = ("blk.0.attn_q_b", "blk.0.attn_k_b", "blk.0.hc_attn_fn", "blk.0.attn_output")
    shapes = dict.fromkeys(names, (512, 512))
    for architecture, types in (
        ("deepseek2", ("Q4_0", "Q4_0", "Q4_0", "Q4_0")),
        ("glm5-next", ("Q8_0", "BF16", "BF16", "Q4_0")),
    ):
        chosen = types_of({"general.architecture": architecture}, shapes, QuantType.Q4_0)
        assert tuple(chosen.values()) == types, architecture


def test_stacks_that_are_no_experts() -> None:
    shapes = {"blk.0.attn_k_b": (512, 64, 8), "blk.0.ffn_up_exps": (512, 64, 8)}
    for architecture, keys in (("deepseek2", "MXFP4"), ("bailingmoe3", "Q8_0")):
        chosen = types_of({"general.architecture": architecture}, shapes, QuantType.MXFP4_MOE)
        assert tuple(chosen.values()) == (keys, "MXFP4"), architecture


def test_what_models_that_see_or_hear_keep() -> None:
    names = ("v.position_embd", "v.patch_embd", "v.sam.neck.0", "v.blk.0.rel_pos", "a.rvq.codebook")
    chosen = types_of(
        {"general.architecture": "clip"},
        {**dict.fromkeys(names, (512, 64)), "v.blk.0.attn_q": (512, 512)},
        QuantType.Q4_0,
    )
    assert chosen == {**dict.fromkeys(names, "BF16"), "v.blk.0.attn_q": "Q4_0"}


def test_folded_tensors_unfold_to_what_they_were() -> None:
    tensors = {
        "model.norm.weight": (8,),
        **{f"model.layers.{i}.mlp.up.weight": (16, 8) for i in range(11)},
        **{f"model.layers.{i}.mlp.down.weight": (8, 16 + i // 5) for i in range(11)},
        **{f"h.{i}.experts.{e}.up.weight": (4, 8) for i in (1, 2) for e in range(3)},
        **{f"h.{i}.experts.{e}.odd.weight": (4, 8) for i, e in ((0, 0), (1, 2))},
    }
    folded = fold(tensors)
    assert len(folded) == 8
    assert "h.{1-2}.experts.{0-2}.up.weight" in folded
    assert unfold(folded) == tensors
