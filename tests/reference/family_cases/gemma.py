"""Gemma 1 to 3: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, FamilyCase

__all__ = ["GEMMA_CASES"]

"""A SentencePiece tokenizer of 512 tokens, which leaves room for wide rows."""

_GEMMA: Mapping[str, Any] = {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 64,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.38.0.dev0",
    "use_cache": True,
    **DEMO_IDS,
}
"""google/gemma-2b."""

_GEMMA2: Mapping[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": 30.0,
    "head_dim": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 64,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 32,
    "torch_dtype": "float32",
    "transformers_version": "4.42.4",
    "use_cache": True,
    **DEMO_IDS,
}
"""google/gemma-2-2b; a window short enough to matter."""

_GEMMA3: Mapping[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": None,
    "head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 384,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 7,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 64,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 32,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "use_cache": True,
    **DEMO_IDS,
}
"""google/gemma-3-1b-it; a window short enough to matter."""

_GEMMA3_MULTIMODAL: Mapping[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 500,
    "bos_token_id": 1,
    "eoi_token_index": 501,
    "eos_token_id": [2, 106],
    "image_token_index": 502,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 4,
    "model_type": "gemma3",
    "text_config": {
        "head_dim": 64,
        "hidden_size": 256,
        "intermediate_size": 512,
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "query_pre_attn_scalar": 64,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 32,
        "vocab_size": 576,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 28,
        "intermediate_size": 64,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
"""google/gemma-3-4b-it: sees images too; more embeddings than tokens."""


def _tied(name: str) -> str | None:
    """transformers writes Gemma's output although it is the embeddings; Google did not."""
    return None if name.endswith("lm_head.weight") else name


_GEMMAS = (
    FamilyCase("gemma-tiny", _GEMMA, DEMO, rename=_tied),
    FamilyCase("gemma2-tiny", _GEMMA2, DEMO, shards=2, rename=_tied),
    FamilyCase("gemma3-tiny", _GEMMA3, DEMO, rename=_tied),
    FamilyCase(
        "gemma3-multimodal",
        _GEMMA3_MULTIMODAL,
        DEMO,
        auto="AutoModelForImageTextToText",
        rename=_tied,
    ),
)

GEMMA_CASES: tuple[FamilyCase, ...] = (*_GEMMAS,)
