"""Mistral's own files: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase
from tests.tekken_tokenizer import TEKKEN_SIZE

__all__ = ["MISTRAL_OWN_CASES"]

_SIZES: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}

_MISTRAL: Mapping[str, Any] = {
    **_SIZES,
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "model_type": "mistral",
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.52.0.dev0",
    "vocab_size": TEKKEN_SIZE,
}
"""mistralai/Devstral-Small-2505, which has no tokenizer.json."""

_OWN: Mapping[str, Any] = {
    "dim": 128,
    "head_dim": 32,
    "hidden_dim": 256,
    "max_position_embeddings": 131072,
    "n_heads": 4,
    "n_kv_heads": 2,
    "n_layers": 2,
    "norm_eps": 1e-05,
    "rope_theta": 1000000000.0,
    "vocab_size": TEKKEN_SIZE,
}
"""mistralai/Devstral-Small-2505."""

_OWN_SCALED: Mapping[str, Any] = {
    **_OWN,
    "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 16384},
    "model_type": "transformer",
    "q_lora_rank": None,
    "tied_embeddings": False,
    "yarn": {
        "alpha": 1.0,
        "apply_scale": False,
        "beta": 32.0,
        "factor": 16.0,
        "original_max_position_embeddings": 16384,
    },
}
"""mistralai/Ministral-3-8B-Instruct-2512, the part that reads text, in BF16."""


def _own_tensors() -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {
        "norm.weight": [128],
        "output.weight": [TEKKEN_SIZE, 128],
        "tok_embeddings.weight": [TEKKEN_SIZE, 128],
    }
    for layer in range(2):
        stem = f"layers.{layer}"
        shapes |= {
            f"{stem}.attention.wk.weight": [64, 128],
            f"{stem}.attention.wo.weight": [128, 128],
            f"{stem}.attention.wq.weight": [128, 128],
            f"{stem}.attention.wv.weight": [64, 128],
            f"{stem}.attention_norm.weight": [128],
            f"{stem}.feed_forward.w1.weight": [256, 128],
            f"{stem}.feed_forward.w2.weight": [128, 256],
            f"{stem}.feed_forward.w3.weight": [256, 128],
            f"{stem}.ffn_norm.weight": [128],
        }
    return shapes


MISTRAL_OWN_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("mistral-tekken", _MISTRAL, "tekken"),
    FamilyCase("mistral-own", _OWN, "tekken", tensors=_own_tensors(), own=True),
    FamilyCase("ministral3-own", _OWN_SCALED, "tekken", tensors=_own_tensors(), own=True),
)
