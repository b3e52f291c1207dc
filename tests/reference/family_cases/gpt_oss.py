"""gpt-oss: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["GPT_OSS_CASES"]

_GPT_OSS: Mapping[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 50256,
    "experts_per_token": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "output_router_logits": False,
    "pad_token_id": 50256,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
    "vocab_size": 50257,
}
"""openai/gpt-oss-20b."""


def _gpt_oss_tensors() -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "lm_head.weight": [50257, 64],
        "model.embed_tokens.weight": [50257, 64],
        "model.norm.weight": [64],
    }
    for layer in range(2):
        stem = f"model.layers.{layer}"
        for kind, rows in (("q", 128), ("k", 64), ("v", 64)):
            shapes[f"{stem}.self_attn.{kind}_proj.weight"] = [rows, 64]
            shapes[f"{stem}.self_attn.{kind}_proj.bias"] = [rows]
        shapes |= {
            f"{stem}.input_layernorm.weight": [64],
            f"{stem}.post_attention_layernorm.weight": [64],
            f"{stem}.self_attn.o_proj.weight": [64, 128],
            f"{stem}.self_attn.o_proj.bias": [64],
            f"{stem}.self_attn.sinks": [4],
            f"{stem}.mlp.router.weight": [4, 64],
            f"{stem}.mlp.router.bias": [4],
            f"{stem}.mlp.experts.gate_up_proj_blocks": [4, 128, 2, 16],
            f"{stem}.mlp.experts.gate_up_proj_scales": [4, 128, 2],
            f"{stem}.mlp.experts.gate_up_proj_bias": [4, 128],
            f"{stem}.mlp.experts.down_proj_blocks": [4, 64, 2, 16],
            f"{stem}.mlp.experts.down_proj_scales": [4, 64, 2],
            f"{stem}.mlp.experts.down_proj_bias": [4, 64],
        }
    return shapes


_PACKED = {"_blocks": "U8", "_scales": "U8"}

GPT_OSS_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("gpt-oss", _GPT_OSS, "gpt2", tensors=_gpt_oss_tensors(), dtypes=_PACKED),
)
