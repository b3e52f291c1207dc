"""ModernBERT and NeoBERT: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["MODERN_BERT_CASES"]

_MODERN: Mapping[str, Any] = {
    "architectures": ["ModernBertModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 50256,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 50256,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 50256,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 64,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-05,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "pad_token_id": 50256,
    "position_embedding_type": "absolute",
    "sep_token_id": 50256,
    "torch_dtype": "float16",
    "transformers_version": "4.48.0",
    "vocab_size": 50257,
}
"""Alibaba-NLP/gte-modernbert-base."""

_RERANKER: Mapping[str, Any] = {
    **_MODERN,
    "architectures": ["ModernBertForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
}
"""Alibaba-NLP/gte-reranker-modernbert-base."""

_NEO: Mapping[str, Any] = {
    "architectures": ["NeoBERTLMHead"],
    "classifier_init_range": 0.02,
    "decoder_init_range": 0.02,
    "embedding_init_range": 0.02,
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_length": 4096,
    "model_type": "neobert",
    "norm_eps": 1e-05,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "torch_dtype": "float32",
    "transformers_version": "4.48.2",
    "vocab_size": 30522,
}
"""chandar-lab/NeoBERT."""


def _neo_tensors() -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "decoder.bias": [30522],
        "decoder.weight": [30522, 64],
        "model.encoder.weight": [30522, 64],
        "model.layer_norm.weight": [64],
    }
    for layer in range(2):
        stem = f"model.transformer_encoder.{layer}"
        shapes |= {
            f"{stem}.attention_norm.weight": [64],
            f"{stem}.ffn.w12.weight": [128, 64],
            f"{stem}.ffn.w3.weight": [64, 64],
            f"{stem}.ffn_norm.weight": [64],
            f"{stem}.qkv.weight": [192, 64],
            f"{stem}.wo.weight": [64, 64],
        }
    return shapes


MODERN_BERT_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("modernbert-tiny", _MODERN, "gpt2", dtype="F16", auto="AutoModel"),
    FamilyCase(
        "modernbert-reranker",
        _RERANKER,
        "gpt2",
        dtype="F16",
        auto="AutoModelForSequenceClassification",
    ),
    FamilyCase("neobert-tiny", _NEO, "bert", dtype="F32", tensors=_neo_tensors()),
)
