"""What reads text in models that see: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, FamilyCase

__all__ = ["SEEING_CASES"]

_SEES = "AutoModelForImageTextToText"

_SIZES: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}

_SMOLVLM: Mapping[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"],
    "image_token_id": 500,
    "model_type": "idefics3",
    "scale_factor": 4,
    "text_config": {
        **_SIZES,
        "architectures": ["VLlama3ForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": 32,
        "max_position_embeddings": 8192,
        "model_type": "llama",
        "num_attention_heads": 4,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 64,
        "intermediate_size": 48,
        "model_type": "idefics3_vision",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 16,
    },
}
"""HuggingFaceTB/SmolVLM-256M-Instruct."""

_PIXTRAL: Mapping[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "image_seq_length": 1,
    "image_token_index": 10,
    "model_type": "llava",
    "projector_hidden_act": "gelu",
    "text_config": {
        **_SIZES,
        "head_dim": 16,
        "is_composition": True,
        "max_position_embeddings": 1024000,
        "model_type": "mistral",
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000000.0,
        "sliding_window": None,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "vision_config": {
        "head_dim": 16,
        "hidden_size": 32,
        "image_size": 56,
        "intermediate_size": 48,
        "model_type": "pixtral",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "rope_theta": 10000.0,
    },
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}
"""mistral-community/pixtral-12b, which leaves the number of heads to transformers."""

_LLAVA: Mapping[str, Any] = {
    **_PIXTRAL,
    "ignore_index": -100,
    "image_token_index": 500,
    "text_config": {
        **_SIZES,
        "_name_or_path": "lmsys/vicuna-7b-v1.5",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "num_attention_heads": 4,
        "rms_norm_eps": 1e-05,
        "torch_dtype": "float16",
    },
    "torch_dtype": "float16",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 56,
        "intermediate_size": 48,
        "model_type": "clip_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "projection_dim": 32,
        "vocab_size": 512,
    },
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}
"""llava-hf/llava-1.5-7b-hf, whose projector nobody converts."""

_INTERNVL: Mapping[str, Any] = {
    "architectures": ["InternVLChatModel"],
    "downsample_ratio": 0.5,
    "llm_config": {
        **_SIZES,
        "architectures": ["Qwen2ForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "max_position_embeddings": 32768,
        "model_type": "qwen2",
        "num_attention_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "model_type": "internvl_chat",
    "template": "internvl2_5",
    "torch_dtype": "bfloat16",
    "vision_config": {
        "architectures": ["InternVisionModel"],
        "hidden_size": 32,
        "image_size": 56,
        "model_type": "intern_vit_6b",
        "num_hidden_layers": 1,
        "patch_size": 14,
    },
}
"""OpenGVLab/InternVL3-1B, whose model is code of its own."""


def _internvl_tensors() -> dict[str, list[int]]:
    width, wide, vocabulary = 128, 256, 512
    shapes: dict[str, list[int]] = {
        "language_model.lm_head.weight": [vocabulary, width],
        "language_model.model.embed_tokens.weight": [vocabulary, width],
        "language_model.model.norm.weight": [width],
        "mlp1.0.weight": [128],
        "vision_model.embeddings.class_embedding": [1, 1, 32],
    }
    for layer in range(2):
        stem = f"language_model.model.layers.{layer}"
        shapes |= {
            f"{stem}.input_layernorm.weight": [width],
            f"{stem}.mlp.down_proj.weight": [width, wide],
            f"{stem}.mlp.gate_proj.weight": [wide, width],
            f"{stem}.mlp.up_proj.weight": [wide, width],
            f"{stem}.post_attention_layernorm.weight": [width],
            f"{stem}.self_attn.o_proj.weight": [width, width],
        }
        for part, rows in (("q", width), ("k", width // 2), ("v", width // 2)):
            shapes[f"{stem}.self_attn.{part}_proj.weight"] = [rows, width]
            shapes[f"{stem}.self_attn.{part}_proj.bias"] = [rows]
    return shapes


SEEING_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("smolvlm-text", _SMOLVLM, DEMO, auto=_SEES),
    FamilyCase("pixtral-text", _PIXTRAL, DEMO, auto=_SEES),
    FamilyCase("llava-text", _LLAVA, DEMO, dtype="F16", auto=_SEES),
    FamilyCase("internvl-text", _INTERNVL, DEMO, tensors=_internvl_tensors()),
)
