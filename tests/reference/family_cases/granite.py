"""Granite and SmolLM3: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, FamilyCase

__all__ = ["GRANITE_CASES"]

"""A SentencePiece tokenizer of 512 tokens, which leaves room for wide rows."""

_SMOLLM3: Mapping[str, Any] = {
    "architectures": ["SmolLM3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "layer_types": ["full_attention"] * 5,
    "max_position_embeddings": 65536,
    "max_window_layers": 28,
    "mlp_bias": False,
    "model_type": "smollm3",
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0, 1],
    "num_attention_heads": 8,
    "num_hidden_layers": 5,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "pretraining_tp": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000.0,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.54.0.dev0",
    "use_cache": False,
    "use_sliding_window": False,
    **DEMO_IDS,
}
"""HuggingFaceTB/SmolLM3-3B."""

_GRANITE: Mapping[str, Any] = {
    "architectures": ["GraniteForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.1,
    "attention_multiplier": 0.03125,
    "bos_token_id": 0,
    "embedding_multiplier": 12.0,
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "logits_scaling": 8.0,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "granite",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "residual_multiplier": 0.22,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.49.0",
    "use_cache": True,
    "vocab_size": 49159,
}
"""ibm-granite/granite-3.3-2b-instruct."""

_GRANITES = (
    FamilyCase("granite-tiny", _GRANITE, "smollm2"),
    FamilyCase(
        "granite-moe",
        {
            **_GRANITE,
            **DEMO_IDS,
            "architectures": ["GraniteMoeForCausalLM"],
            "hidden_size": 256,
            "intermediate_size": 256,
            "model_type": "granitemoe",
            "num_experts_per_tok": 2,
            "num_local_experts": 5,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
        },
        DEMO,
    ),
    # Granite 4 tiny's layers of attention: beside the experts one that is always asked.
    FamilyCase(
        "granite-moe-shared",
        {
            **_GRANITE,
            **DEMO_IDS,
            "architectures": ["GraniteMoeSharedForCausalLM"],
            "intermediate_size": 96,
            "model_type": "granitemoeshared",
            "num_experts_per_tok": 2,
            "num_local_experts": 4,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
            "shared_intermediate_size": 160,
        },
        DEMO,
    ),
)

GRANITE_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("smollm3-tiny", _SMOLLM3, DEMO),
    *_GRANITES,
)
