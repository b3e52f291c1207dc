"""The projectors of Qwen-VL: see `projector_cases.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["QWEN2_VL", "QWEN3_VL", "QWEN25_VL", "QWEN_TEXT"]

QWEN_TEXT: Mapping[str, Any] = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 48,
    "intermediate_size": 64,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "vocab_size": 512,
}
_QWEN_TOKENS: Mapping[str, Any] = {
    "image_token_id": 500,
    "video_token_id": 501,
    "vision_end_token_id": 502,
    "vision_start_token_id": 503,
}

QWEN2_VL: Mapping[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    **QWEN_TEXT,
    **_QWEN_TOKENS,
    "model_type": "qwen2_vl",
    "rope_scaling": {"mrope_section": [2, 2, 2], "type": "mrope"},
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "vision_config": {
        "depth": 4,
        "embed_dim": 32,
        "hidden_size": 48,
        "in_chans": 3,
        "mlp_ratio": 4,
        "model_type": "qwen2_vl",
        "num_heads": 2,
        "spatial_patch_size": 14,
    },
}
"""Qwen/Qwen2-VL-2B-Instruct."""

QWEN25_VL: Mapping[str, Any] = {
    **QWEN2_VL,
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "vision_config": {
        "depth": 4,
        "fullatt_block_indexes": [1, 3],
        "hidden_act": "silu",
        "hidden_size": 32,
        "in_chans": 3,
        "intermediate_size": 80,
        "model_type": "qwen2_5_vl",
        "num_heads": 2,
        "out_hidden_size": 48,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
        "window_size": 112,
    },
}
"""Qwen/Qwen2.5-VL-3B-Instruct."""

QWEN3_VL: Mapping[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    **_QWEN_TOKENS,
    "model_type": "qwen3_vl",
    "text_config": {
        **QWEN_TEXT,
        "head_dim": 16,
        "model_type": "qwen3_vl_text",
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [4, 2, 2],
            "rope_type": "default",
        },
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0.dev0",
    "vision_config": {
        "deepstack_visual_indexes": [0, 2],
        "depth": 4,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 32,
        "in_channels": 3,
        "intermediate_size": 80,
        "model_type": "qwen3_vl",
        "num_heads": 2,
        "num_position_embeddings": 64,
        "out_hidden_size": 48,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}
"""Qwen/Qwen3-VL-4B-Instruct."""
