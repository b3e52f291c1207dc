"""Gemma 3n, Gemma 4 and EmbeddingGemma: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, FamilyCase

__all__ = ["GEMMA_LATER_CASES"]

_LLAMA2_IDS = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": 32000}

_WINDOWS = ["sliding_attention", "sliding_attention", "full_attention"]

_GEMMA3N: Mapping[str, Any] = {
    "architectures": ["Gemma3nForCausalLM"],
    **DEMO_IDS,
    "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 15,
    "altup_active_idx": 0,
    "altup_coef_clip": 120.0,
    "altup_correct_scale": True,
    "altup_num_inputs": 4,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "final_logit_softcapping": 30.0,
    "head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 64,
    "hidden_size_per_layer_input": 256,
    "initializer_range": 0.02,
    "intermediate_size": [128] * 25,
    "laurel_rank": 64,
    "layer_types": ([_WINDOWS[0]] * 4 + [_WINDOWS[-1]]) * 5,
    "max_position_embeddings": 32768,
    "model_type": "gemma3n_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 25,
    "num_key_value_heads": 2,
    "num_kv_shared_layers": 5,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 32,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.53.0",
    "use_cache": True,
    "vocab_size_per_layer_input": 512,
}
"""google/gemma-3n-E4B-it, the part that reads text, with what llama.cpp knows by heart: two
sizes, that the first 10 layers leave most of their neurons out, and that those from the 20th on
have no keys of their own; a window short enough to matter."""

_GEMMA4: Mapping[str, Any] = {
    "architectures": ["Gemma4ForCausalLM"],
    **_LLAMA2_IDS,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_k_eq_v": False,
    "dtype": "bfloat16",
    "enable_moe_block": False,
    "final_logit_softcapping": 30.0,
    "global_head_dim": 64,
    "head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 64,
    "hidden_size_per_layer_input": 16,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "layer_types": _WINDOWS * 2,
    "max_position_embeddings": 131072,
    "model_type": "gemma4_text",
    "moe_intermediate_size": None,
    "num_attention_heads": 4,
    "num_experts": None,
    "num_global_key_value_heads": None,
    "num_hidden_layers": 6,
    "num_key_value_heads": 1,
    "num_kv_shared_layers": 3,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "full_attention": {
            "partial_rotary_factor": 0.25,
            "rope_theta": 1000000.0,
            "rope_type": "proportional",
        },
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "sliding_window": 32,
    "tie_word_embeddings": True,
    "top_k_experts": None,
    "transformers_version": "5.5.0.dev0",
    "use_bidirectional_attention": None,
    "use_cache": True,
    "use_double_wide_mlp": True,
    "vocab_size_per_layer_input": 32000,
}
"""google/gemma-4-E2B-it, the part that reads text; a window short enough to matter."""

_GEMMA4_MOE: Mapping[str, Any] = {
    **_GEMMA4,
    "attention_k_eq_v": True,
    "enable_moe_block": True,
    "hidden_size_per_layer_input": 0,
    "layer_types": _WINDOWS,
    "moe_intermediate_size": 32,
    "num_experts": 4,
    "num_global_key_value_heads": 1,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_kv_shared_layers": 0,
    "top_k_experts": 2,
    "use_double_wide_mlp": False,
}
"""google/gemma-4-26B-A4B-it, the part that reads text."""

_EMBEDDING: Mapping[str, Any] = {
    "_sliding_window_pattern": 6,
    "architectures": ["Gemma3TextModel"],
    **DEMO_IDS,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "dtype": "float32",
    "final_logit_softcapping": None,
    "head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 96,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "layer_types": _WINDOWS,
    "max_position_embeddings": 2048,
    "model_type": "gemma3_text",
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 32,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "transformers_version": "4.57.0.dev0",
    "use_bidirectional_attention": True,
    "use_cache": True,
}
"""google/embeddinggemma-300m."""


def _embedding_files() -> Mapping[str, Any]:
    kind = "sentence_transformers.models"
    return {
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "word_embedding_dimension": 96},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{kind}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}.Pooling"},
        ],
    }


def _embedding_name(name: str) -> str | None:
    """Published without its first part, and without an output."""
    return None if name.startswith("lm_head") else name.removeprefix("model.")


def _gemma3n_name(name: str) -> str | None:
    """transformers 4 writes what is the part of a larger model's name."""
    return name.replace("model.language_model_projection", "model_projection").replace(
        "language_model.", ""
    )


GEMMA_LATER_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("gemma3n-tiny", _GEMMA3N, DEMO, rename=_gemma3n_name),
    FamilyCase("gemma4-tiny", _GEMMA4, "llama2"),
    FamilyCase("gemma4-moe", _GEMMA4_MOE, "llama2"),
    FamilyCase(
        "embedding-gemma",
        _EMBEDDING,
        DEMO,
        dtype="F32",
        rename=_embedding_name,
        files=_embedding_files(),
    ),
)
