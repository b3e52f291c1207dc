"""Ling, MiniCPM, Baichuan and Phi-3.5-MoE: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, GPT2_IDS, FamilyCase

__all__ = ["MINICPM_CASES"]

_SIZES: Mapping[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}

_LING: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["BailingMoeForCausalLM"],
    "first_k_dense_replace": 0,
    "head_dim": 16,
    "max_position_embeddings": 16384,
    "model_type": "bailing_moe",
    "moe_intermediate_size": 32,
    "multi_gate": False,
    "norm_head": False,
    "norm_softmax": False,
    "norm_topk_prob": True,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_shared_experts": 2,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 600000,
    "tie_word_embeddings": False,
    "transformers_version": "4.36.0",
    "use_bias": False,
    "use_qkv_bias": False,
}
"""inclusionAI/Ling-lite-1.5."""

_LING2: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["BailingMoeV2ForCausalLM"],
    "first_k_dense_replace": 1,
    "head_dim": 16,
    "max_position_embeddings": 32768,
    "model_type": "bailing_moe",
    "moe_intermediate_size": 32,
    "moe_router_enable_expert_bias": True,
    "n_group": 2,
    "norm_topk_prob": True,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 0,
    "num_shared_experts": 1,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 600000,
    "routed_scaling_factor": 2.5,
    "score_function": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 1,
    "transformers_version": "4.52.3",
    "use_bias": False,
    "use_qk_norm": True,
    "use_qkv_bias": False,
}
"""inclusionAI/Ling-mini-2.0."""


def _ling_tensors(version: int) -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "lm_head.weight": [50257, 64],
        "model.norm.weight": [64],
        "model.word_embeddings.weight": [50257, 64],
    }
    for layer in range(2):
        stem = f"model.layers.{layer}"
        shapes |= {
            f"{stem}.attention.dense.weight": [64, 64],
            f"{stem}.attention.query_key_value.weight": [128, 64],
            f"{stem}.input_layernorm.weight": [64],
            f"{stem}.post_attention_layernorm.weight": [64],
        }
        if version == 2:
            shapes[f"{stem}.attention.query_layernorm.weight"] = [16]
            shapes[f"{stem}.attention.key_layernorm.weight"] = [16]
            if layer == 0:
                for kind, shape in _gated(160):
                    shapes[f"{stem}.mlp.{kind}_proj.weight"] = shape
                continue
            shapes[f"{stem}.mlp.gate.expert_bias"] = [4]
        shapes[f"{stem}.mlp.gate.weight"] = [4, 64]
        for kind, shape in _gated(64 if version == 1 else 32):
            shapes[f"{stem}.mlp.shared_experts.{kind}_proj.weight"] = shape
        for expert in range(4):
            for kind, shape in _gated(32):
                shapes[f"{stem}.mlp.experts.{expert}.{kind}_proj.weight"] = shape
    return shapes


def _gated(width: int, hidden: int = 64) -> Sequence[tuple[str, Sequence[int]]]:
    return (("gate", [width, hidden]), ("up", [width, hidden]), ("down", [hidden, width]))


_MINICPM: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["MiniCPMForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dim_model_base": 32,
    "max_position_embeddings": 32768,
    "model_type": "minicpm",
    "pad_token_id": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "long_factor": [0.9977 + 0.31 * i * i for i in range(8)],
        "original_max_position_embeddings": 32768,
        "rope_type": "longrope",
        "short_factor": [0.9977 + 0.31 * i * i for i in range(8)],
    },
    "scale_depth": 1.4,
    "scale_emb": 12,
    "tie_word_embeddings": True,
    "transformers_version": "4.46.3",
}
"""openbmb/MiniCPM4-0.5B."""


def _minicpm_tensors() -> dict[str, Sequence[int]]:
    shapes = _around()
    for layer in range(2):
        stem = f"model.layers.{layer}"
        for kind, rows in (("q", 64), ("k", 32), ("v", 32)):
            shapes[f"{stem}.self_attn.{kind}_proj.weight"] = [rows, 64]
        shapes[f"{stem}.self_attn.o_proj.weight"] = [64, 64]
    return shapes


def _around(*, output: bool = False) -> dict[str, Sequence[int]]:
    """All that is not attention in a model of two layers."""
    shapes: dict[str, Sequence[int]] = {
        "model.embed_tokens.weight": [512, 64],
        "model.norm.weight": [64],
    }
    if output:
        shapes["lm_head.weight"] = [512, 64]
    for layer in range(2):
        stem = f"model.layers.{layer}"
        shapes[f"{stem}.input_layernorm.weight"] = [64]
        shapes[f"{stem}.post_attention_layernorm.weight"] = [64]
        for kind, shape in _gated(160):
            shapes[f"{stem}.mlp.{kind}_proj.weight"] = shape
    return shapes


_MINICPM3: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["MiniCPM3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dim_model_base": 32,
    "kv_lora_rank": 32,
    "max_position_embeddings": 32768,
    "model_type": "minicpm3",
    "num_key_value_heads": 4,
    "pad_token_id": 2,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "long_factor": [1.06 + 0.02 * i for i in range(8)],
        "original_max_position_embeddings": 32768,
        "short_factor": [1.06 + 0.02 * i for i in range(8)],
        "type": "longrope",
    },
    "scale_depth": 1.4,
    "scale_emb": 12,
    "transformers_version": "4.41.0",
}
"""openbmb/MiniCPM3-4B."""


def _minicpm3_tensors() -> dict[str, Sequence[int]]:
    shapes = _around()
    for layer in range(2):
        stem = f"model.layers.{layer}.self_attn"
        shapes |= {
            f"{stem}.q_a_proj.weight": [32, 64],
            f"{stem}.q_a_layernorm.weight": [32],
            f"{stem}.q_b_proj.weight": [128, 32],
            f"{stem}.kv_a_proj_with_mqa.weight": [48, 64],
            f"{stem}.kv_a_layernorm.weight": [32],
            f"{stem}.kv_b_proj.weight": [128, 32],
            f"{stem}.o_proj.weight": [64, 64],
        }
    return shapes


_BAICHUAN: Mapping[str, Any] = {
    "architectures": ["BaichuanForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "model_max_length": 4096,
    "model_type": "baichuan",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.29.2",
    "use_cache": True,
    "vocab_size": 512,
    "z_loss_weight": 0,
}
"""baichuan-inc/Baichuan2-7B-Chat."""


def _baichuan_tensors() -> dict[str, Sequence[int]]:
    shapes = _around(output=True)
    for layer in range(2):
        stem = f"model.layers.{layer}.self_attn"
        shapes[f"{stem}.W_pack.weight"] = [192, 64]
        shapes[f"{stem}.o_proj.weight"] = [64, 64]
    return shapes


_PHIMOE: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["PhiMoEForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "input_jitter_noise": 0.01,
    "intermediate_size": 96,
    "lm_head_bias": True,
    "max_position_embeddings": 131072,
    "model_type": "phimoe",
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "original_max_position_embeddings": 4096,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "long_factor": [1.02 + 0.5 * i for i in range(8)],
        "long_mscale": 1.243163121016122,
        "original_max_position_embeddings": 4096,
        "short_factor": [1.0 + 0.04 * i for i in range(8)],
        "short_mscale": 1.243163121016122,
        "type": "longrope",
    },
    "rope_theta": 10000.0,
    "router_aux_loss_coef": 0.0,
    "router_jitter_noise": 0.01,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "transformers_version": "4.43.3",
}
"""microsoft/Phi-3.5-MoE-instruct."""

MINICPM_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("ling-tiny", _LING, "gpt2", tensors=_ling_tensors(1)),
    FamilyCase("ling2-tiny", _LING2, "gpt2", tensors=_ling_tensors(2)),
    FamilyCase("minicpm4-tiny", _MINICPM, DEMO, tensors=_minicpm_tensors()),
    FamilyCase("minicpm3-tiny", _MINICPM3, DEMO, tensors=_minicpm3_tensors()),
    FamilyCase("baichuan-tiny", _BAICHUAN, DEMO, tensors=_baichuan_tensors()),
    FamilyCase("phimoe-tiny", _PHIMOE, DEMO),
)
