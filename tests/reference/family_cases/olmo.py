"""OLMo and Command-R: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["OLMO_CASES"]

_OLMO: Mapping[str, Any] = {
    "architectures": ["OlmoForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "clip_qkv": 8.0,
    "eos_token_id": 50279,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "max_position_embeddings": 4096,
    "model_type": "olmo",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": 1,
    "pretraining_tp": 1,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.40.2",
    "use_cache": True,
    "vocab_size": 50304,
}
"""allenai/OLMo-1.7-7B-hf."""

_OLMO2: Mapping[str, Any] = {
    "architectures": ["Olmo2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "eos_token_id": 50256,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 4096,
    "model_type": "olmo2",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 8,
    "pad_token_id": 50256,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.47.0",
    "use_cache": False,
    "vocab_size": 50304,
}
"""allenai/OLMo-2-1124-7B."""

_OLMO3: Mapping[str, Any] = {
    **_OLMO2,
    "architectures": ["Olmo3ForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 352,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    "max_position_embeddings": 65536,
    "model_type": "olmo3",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "rope_scaling": {
        "attention_factor": 1.2079441541679836,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 8.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "yarn",
    },
    "sliding_window": 16,
    "transformers_version": "4.57.0",
}
"""allenai/Olmo-3-7B-Instruct."""

_OLMOE: Mapping[str, Any] = {
    "architectures": ["OlmoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "clip_qkv": None,
    "eos_token_id": 50279,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 4096,
    "model_type": "olmoe",
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "pad_token_id": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "router_aux_loss_coef": 0.01,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
    "vocab_size": 50304,
}
"""allenai/OLMoE-1B-7B-0924."""

_COHERE: Mapping[str, Any] = {
    "architectures": ["CohereForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 5,
    "eos_token_id": 255001,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "layer_norm_eps": 1e-05,
    "logit_scale": 0.0625,
    "max_position_embeddings": 8192,
    "model_max_length": 131072,
    "model_type": "cohere",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "pretraining_tp": 1,
    "rope_theta": 8000000.0,
    "torch_dtype": "float16",
    "transformers_version": "4.38.2",
    "use_cache": True,
    "vocab_size": 50304,
}
"""CohereLabs/c4ai-command-r-v01."""

_COHERE_PLUS: Mapping[str, Any] = {
    **_COHERE,
    "hidden_size": 256,
    "intermediate_size": 768,
    "logit_scale": 0.8333333333333334,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "rope_theta": 75000000.0,
    "use_qk_norm": True,
}
"""CohereLabs/c4ai-command-r-plus: grouped heads, each with norms."""

_COHERE2: Mapping[str, Any] = {
    "_sliding_window_pattern": 4,
    "architectures": ["Cohere2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 5,
    "cache_implementation": "hybrid",
    "eos_token_id": 255001,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "layer_norm_eps": 1e-05,
    "layer_switch": 4,
    "logit_scale": 0.25,
    "max_position_embeddings": 132096,
    "model_type": "cohere2",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "order_of_interleaved_layers": "local_attn_first",
    "pad_token_id": 0,
    "position_embedding_type": "rope_gptj",
    "rope_scaling": None,
    "rope_theta": 50000,
    "rotary_pct": 1.0,
    "sliding_window": 16,
    "sliding_window_pattern": 4,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.48.0.dev0",
    "use_cache": True,
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_parallel_embedding": True,
    "vocab_size": 50304,
}
"""CohereLabs/c4ai-command-r7b-12-2024; a shorter window, for the logits to show it."""

OLMO_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("olmo-tiny", _OLMO, "gpt2", dtype="F32"),
    FamilyCase("olmo2-tiny", _OLMO2, "gpt2"),
    FamilyCase("olmo3-tiny", _OLMO3, "gpt2"),
    FamilyCase("olmoe-tiny", _OLMOE, "gpt2"),
    FamilyCase("command-r-tiny", _COHERE, "gpt2", dtype="F16"),
    FamilyCase("command-r-plus-tiny", _COHERE_PLUS, "gpt2", dtype="F16"),
    FamilyCase("cohere2-tiny", _COHERE2, "gpt2"),
)
