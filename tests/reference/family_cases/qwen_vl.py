"""What reads text in Qwen-VL: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, GPT2_IDS, FamilyCase

__all__ = ["QWEN_VL_CASES"]

_VISION_SMALL: Mapping[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
}

_QWEN2_VL: Mapping[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    **DEMO_IDS,
    "hidden_act": "silu",
    "hidden_size": 64,
    "image_token_id": 500,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 128000,
    "max_window_layers": 70,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"mrope_section": [2, 3, 3], "type": "mrope"},
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "video_token_id": 501,
    "vision_config": {**_VISION_SMALL, "model_type": "qwen2_5_vl"},
    "vision_end_token_id": 502,
    "vision_start_token_id": 503,
    "vision_token_id": 504,
}
"""Qwen/Qwen2.5-VL-3B-Instruct."""

_QWEN3_VL: Mapping[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 500,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        **DEMO_IDS,
        "dtype": "bfloat16",
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 160,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [6, 5, 5],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 501,
    "vision_config": {
        **_VISION_SMALL,
        "deepstack_visual_indexes": [0],
        "model_type": "qwen3_vl",
        "num_position_embeddings": 64,
    },
    "vision_end_token_id": 502,
    "vision_start_token_id": 503,
}
"""Qwen/Qwen3-VL-4B-Instruct."""

_QWEN3_VL_MOE: Mapping[str, Any] = {
    **_QWEN3_VL,
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "model_type": "qwen3_vl_moe",
    "text_config": {
        **_QWEN3_VL["text_config"],
        **GPT2_IDS,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "model_type": "qwen3_vl_moe_text",
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    },
    "tie_word_embeddings": False,
    "vision_config": {**_QWEN3_VL["vision_config"], "model_type": "qwen3_vl_moe"},
}
"""Qwen/Qwen3-VL-30B-A3B-Instruct."""

_SEES = "AutoModelForImageTextToText"

QWEN_VL_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("qwen25-vl", _QWEN2_VL, DEMO, auto=_SEES),
    FamilyCase("qwen3-vl", _QWEN3_VL, DEMO, auto=_SEES),
    FamilyCase("qwen3-vl-moe", _QWEN3_VL_MOE, "gpt2", auto=_SEES),
)
