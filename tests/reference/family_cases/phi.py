"""Phi-2, Phi-3 and later: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, FamilyCase

__all__ = ["PHI_CASES"]

"""A SentencePiece tokenizer of 512 tokens, which leaves room for wide rows."""

_PHI2: Mapping[str, Any] = {
    "architectures": ["PhiForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 50256,
    "embd_pdrop": 0.0,
    "eos_token_id": 50256,
    "hidden_act": "gelu_new",
    "hidden_size": 160,
    "initializer_range": 0.02,
    "intermediate_size": 640,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "phi",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "resid_pdrop": 0.1,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.37.0",
    "use_cache": True,
    "vocab_size": 51200,
}
"""microsoft/phi-2."""

_PHI3: Mapping[str, Any] = {
    "_name_or_path": "Phi-3-mini-4k-instruct",
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 32000,
    "hidden_act": "silu",
    "hidden_size": 96,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "max_position_embeddings": 4096,
    "model_type": "phi3",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "original_max_position_embeddings": 4096,
    "pad_token_id": 32000,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.2",
    "use_cache": True,
    "vocab_size": 32064,
}
"""microsoft/Phi-3-mini-4k-instruct."""

_PHIS = (
    FamilyCase("phi2-tiny", _PHI2, "gpt2", dtype="F16"),
    FamilyCase("phi3-tiny", _PHI3, "llama2"),
    FamilyCase(
        "phi35-longrope",
        {
            **_PHI3,
            **DEMO_IDS,
            "_name_or_path": "Phi-3.5-mini-instruct",
            "hidden_size": 256,
            "intermediate_size": 512,
            "max_position_embeddings": 131072,
            "num_attention_heads": 8,
            "num_hidden_layers": 3,
            "num_key_value_heads": 8,
            "pad_token_id": 2,
            "rope_scaling": {
                "long_factor": [1.08 + 0.35 * i * i for i in range(16)],
                "short_factor": [1.0 + 0.05 * i for i in range(16)],
                "type": "longrope",
            },
            "sliding_window": 262144,
        },
        DEMO,
    ),
    # Phi-4-mini: tied, grouped heads of which three quarters turn, byte-level BPE.
    FamilyCase(
        "phi4-mini",
        {
            **_PHI3,
            "_name_or_path": "Phi-4-mini-instruct",
            "bos_token_id": 50256,
            "eos_token_id": 50256,
            "pad_token_id": 50256,
            "hidden_size": 128,
            "max_position_embeddings": 131072,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "partial_rotary_factor": 0.75,
            "rope_scaling": {
                "long_factor": [1 + 0.9 * i for i in range(12)],
                "short_factor": [1.0] * 12,
                "type": "longrope",
            },
            "sliding_window": 262144,
            "tie_word_embeddings": True,
            "vocab_size": 50304,
        },
        "gpt2",
    ),
    # Phi-4: no window, another rotary base.
    FamilyCase(
        "phi4-tiny",
        {
            **_PHI3,
            **DEMO_IDS,
            "pad_token_id": 2,
            "hidden_size": 256,
            "max_position_embeddings": 16384,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "original_max_position_embeddings": 16384,
            "rope_theta": 250000,
            "sliding_window": None,
        },
        DEMO,
    ),
)

PHI_CASES: tuple[FamilyCase, ...] = (*_PHIS,)
