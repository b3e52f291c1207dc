"""dots.llm1, ERNIE 4.5, EXAONE 4, Hunyuan, Apertus and Llama 4: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, GPT2_IDS, FamilyCase

__all__ = ["ERNIE_CASES"]

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

_LLAMA3_ROPE: Mapping[str, Any] = {
    "factor": 16.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}

_DOTS1: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["Dots1ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "first_k_dense_replace": 1,
    "head_dim": 16,
    "max_position_embeddings": 32768,
    "max_window_layers": 62,
    "model_type": "dots1",
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "norm_topk_prob": True,
    "num_experts_per_tok": 2,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "sliding_window": None,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "transformers_version": "4.46.3",
    "use_sliding_window": False,
}
"""rednote-hilab/dots.llm1.inst."""

_ERNIE: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["Ernie4_5ForCausalLM"],
    "head_dim": 32,
    "max_position_embeddings": 131072,
    "model_type": "ernie4_5",
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.54.0",
    "use_bias": False,
}
"""baidu/ERNIE-4.5-0.3B-PT."""

_ERNIE_MOE: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["Ernie4_5_MoeForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 128,
    "max_position_embeddings": 131072,
    "model_type": "ernie4_5_moe",
    "moe_capacity": [64, 64, 64],
    "moe_intermediate_size": 32,
    "moe_k": 2,
    "moe_layer_end_index": 2,
    "moe_layer_interval": 1,
    "moe_layer_start_index": 1,
    "moe_num_experts": 4,
    "moe_num_shared_experts": 2,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.54.0",
    "use_bias": False,
}
"""baidu/ERNIE-4.5-21B-A3B-PT."""

_EXAONE4: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["Exaone4ForCausalLM"],
    "attention_dropout": 0.0,
    "head_dim": 16,
    "layer_types": ["full_attention"] * 2,
    "max_position_embeddings": 65536,
    "model_type": "exaone4",
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": _LLAMA3_ROPE,
    "rope_theta": 1000000,
    "sliding_window": None,
    "sliding_window_pattern": None,
    "tie_word_embeddings": True,
    "transformers_version": "4.54.0.dev0",
}
"""LGAI-EXAONE/EXAONE-4.0-1.2B."""

_HUNYUAN: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["HunYuanDenseV1ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.1,
    "eod_token_id": 50256,
    "head_dim": 32,
    "max_position_embeddings": 262144,
    "mlp_bias": False,
    "model_type": "hunyuan_v1_dense",
    "pad_token_id": 50254,
    "qk_norm": True,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "alpha": 1000.0,
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "type": "dynamic",
    },
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.41.2",
    "use_qk_norm": True,
}
"""tencent/Hunyuan-1.8B-Instruct."""

_HUNYUAN_MOE: Mapping[str, Any] = {
    **_HUNYUAN,
    "architectures": ["HunYuanMoEV1ForCausalLM"],
    "head_dim": 128,
    "hidden_size": 256,
    "intermediate_size": 96,
    "max_position_embeddings": 32768,
    "model_type": "hunyuan_v1_moe",
    "moe_drop_tokens": False,
    "moe_intermediate_size": [96, 96],
    "moe_layer_num_skipped": 0,
    "moe_topk": [2, 2],
    "num_attention_heads": 2,
    "num_experts": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "num_shared_expert": [1, 1],
    "rope_scaling": {
        "alpha": 1000.0,
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "type": "dynamic",
    },
    "use_mixed_mlp_moe": True,
}
"""tencent/Hunyuan-A13B-Instruct, with another tokenizer."""

_APERTUS: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["ApertusForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "xielu",
    "hidden_dropout": 0.0,
    "max_position_embeddings": 65536,
    "mlp_bias": False,
    "model_type": "apertus",
    "pad_token_id": 3,
    "post_norm": False,
    "qk_norm": True,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {**_LLAMA3_ROPE, "factor": 8.0},
    "rope_theta": 12000000,
    "tie_word_embeddings": False,
    "transformers_version": "4.56.0.dev0",
}
"""swiss-ai/Apertus-8B-Instruct-2509."""

_LLAMA4: Mapping[str, Any] = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "boi_token_index": 200080,
    "eoi_token_index": 200081,
    "image_token_index": 500,
    "model_type": "llama4",
    "text_config": {
        **_SIZES,
        **GPT2_IDS,
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": True,
        "cache_implementation": "static",
        "floor_scale": 8192,
        "for_llm_compression": False,
        "head_dim": 16,
        "interleave_moe_layer_step": 2,
        "intermediate_size": 32,
        "intermediate_size_mlp": 96,
        "max_position_embeddings": 10485760,
        "model_type": "llama4_text",
        "no_rope_layers": [1, 1, 1, 0],
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "num_local_experts": 4,
        "output_router_logits": False,
        "pad_token_id": 50256,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {**_LLAMA3_ROPE, "high_freq_factor": 1.0},
        "rope_theta": 500000.0,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "use_qk_norm": True,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0.dev0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 28,
        "intermediate_size": 128,
        "model_type": "llama4_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "vision_output_dim": 32,
    },
}
"""meta-llama/Llama-4-Scout-17B-16E-Instruct, with Maverick's layers without experts."""

ERNIE_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("dots1-tiny", _DOTS1, "gpt2"),
    FamilyCase("ernie45-tiny", _ERNIE, DEMO),
    FamilyCase("ernie45-moe", _ERNIE_MOE, DEMO),
    FamilyCase("exaone4-tiny", _EXAONE4, "gpt2"),
    FamilyCase("hunyuan-tiny", _HUNYUAN, "gpt2"),
    FamilyCase("hunyuan-moe", _HUNYUAN_MOE, "gpt2"),
    FamilyCase("apertus-tiny", _APERTUS, DEMO),
    FamilyCase("llama4-tiny", _LLAMA4, "gpt2", auto="AutoModelForImageTextToText"),
)
