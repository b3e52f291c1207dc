"""Mistral, Mixtral, and 8-bit floats of theirs and of Qwen: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, FamilyCase
from tests.reference.family_cases.qwen import QWEN3

__all__ = ["MISTRAL_CASES"]

"""A SentencePiece tokenizer of 512 tokens, which leaves room for wide rows."""

_MISTRAL: Mapping[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 224,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
"""mistralai/Mistral-7B-v0.1."""

_MIXTRAL: Mapping[str, Any] = {
    "architectures": ["MixtralForCausalLM"],
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 32768,
    "model_type": "mixtral",
    "num_attention_heads": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.02,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.36.0.dev0",
    "use_cache": True,
    **DEMO_IDS,
}
"""mistralai/Mixtral-8x7B-Instruct-v0.1."""

_MISTRALS = (
    FamilyCase("mistral-tiny", _MISTRAL, "llama2"),
    # Mistral-Nemo: heads narrower than the model is wide divided by them.
    FamilyCase(
        "mistral-nemo",
        {
            **_MISTRAL,
            **DEMO_IDS,
            "head_dim": 64,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_attention_heads": 8,
            "max_position_embeddings": 131072,
            "rope_theta": 1000000.0,
            "sliding_window": None,
        },
        DEMO,
        shards=2,
    ),
    FamilyCase("mixtral-tiny", _MIXTRAL, DEMO, shards=2),
)

_FLOAT8 = {"_proj.weight": "F8_E4M3", "_scale_inv": "F32"}

_FLOAT8_CONFIG: Mapping[str, Any] = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "modules_to_not_convert": ["lm_head"],
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}

_FLOAT8_CASES = (
    # Qwen/Qwen3-0.6B-FP8: factors of blocks, some of which reach over the edge.
    FamilyCase(
        "qwen3-fp8",
        {
            **QWEN3,
            **DEMO_IDS,
            "head_dim": 48,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_attention_heads": 8,
            "quantization_config": _FLOAT8_CONFIG,
        },
        DEMO,
        dtypes=_FLOAT8,
    ),
    # Rows in another order, one factor for each matrix.
    FamilyCase(
        "mistral-fp8",
        {
            **_MISTRAL,
            **DEMO_IDS,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "quantization_config": {**_FLOAT8_CONFIG, "weight_block_size": None},
        },
        DEMO,
        dtypes=_FLOAT8,
        shards=2,
    ),
)

MISTRAL_CASES: tuple[FamilyCase, ...] = (
    *_MISTRALS,
    *_FLOAT8_CASES,
)
