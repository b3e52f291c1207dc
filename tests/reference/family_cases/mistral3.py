"""Mistral 3, LFM2, Seed-OSS and Arcee: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, GPT2_IDS, FamilyCase

__all__ = ["MISTRAL3_CASES"]

_SIZES: Mapping[str, Any] = {
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}

_MISTRAL3: Mapping[str, Any] = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "image_token_index": 10,
    "model_type": "mistral3",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "spatial_merge_size": 2,
    "text_config": {
        **_SIZES,
        **DEMO_IDS,
        "attention_dropout": 0.0,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "model_type": "mistral",
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 56,
        "intermediate_size": 32,
        "model_type": "pixtral",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
    },
    "vision_feature_layer": -1,
}
"""mistralai/Mistral-Small-3.1-24B-Instruct-2503."""

_LFM2: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["Lfm2ForCausalLM"],
    "block_auto_adjust_ff_dim": True,
    "block_dim": 64,
    "block_ff_dim": 192,
    "block_ffn_dim_multiplier": 1.0,
    "block_mlp_init_scale": 1.0,
    "block_multiple_of": 32,
    "block_norm_eps": 1e-05,
    "block_use_swiglu": True,
    "block_use_xavier_init": True,
    "conv_L_cache": 3,
    "conv_bias": False,
    "conv_dim": 64,
    "intermediate_size": 192,
    "layer_types": ["conv", "full_attention", "conv"],
    "max_position_embeddings": 128000,
    "model_type": "lfm2",
    "norm_eps": 1e-05,
    "num_heads": 4,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.55.0.dev0",
}
"""LiquidAI/LFM2-1.2B."""

_SEED_OSS: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["SeedOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.1,
    "attention_out_bias": False,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 524288,
    "mlp_bias": False,
    "model_type": "seed_oss",
    "residual_dropout": 0.1,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"rope_type": "default"},
    "rope_theta": 10000000.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0",
}
"""ByteDance-Seed/Seed-OSS-36B-Instruct."""

_ARCEE: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["ArceeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 16,
    "hidden_act": "relu2",
    "max_position_embeddings": 65536,
    "mlp_bias": False,
    "model_type": "arcee",
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 20.0,
        "mscale": 1.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
    },
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.53.0",
}
"""arcee-ai/AFM-4.5B."""

MISTRAL3_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("mistral3-tiny", _MISTRAL3, DEMO, auto="AutoModelForImageTextToText"),
    FamilyCase("lfm2-tiny", _LFM2, "gpt2"),
    FamilyCase("seed-oss", _SEED_OSS, "gpt2"),
    FamilyCase("arcee-tiny", _ARCEE, DEMO),
)
