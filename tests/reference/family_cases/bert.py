"""BERT and its kin: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["BERT_CASES"]

_Shapes = dict[str, tuple[int, ...]]

_BERT: Mapping[str, Any] = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 64,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
    "transformers_version": "4.30.0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
}
"""BAAI/bge-small-en-v1.5."""

_POOLING: Mapping[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 64,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
}

_RERANKER: Mapping[str, Any] = {
    **_BERT,
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
}
"""cross-encoder/ms-marco-MiniLM-L6-v2."""

_ROBERTA: Mapping[str, Any] = {
    "architectures": ["RobertaModel"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "roberta",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "transformers_version": "4.4.2",
    "type_vocab_size": 1,
    "use_cache": True,
    "vocab_size": 50265,
}
"""sentence-transformers/stsb-roberta-base."""

_DISTILBERT: Mapping[str, Any] = {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.1,
    "dim": 64,
    "dropout": 0.1,
    "hidden_dim": 256,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 4,
    "n_layers": 2,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "transformers_version": "4.10.0.dev0",
    "vocab_size": 30522,
}
"""distilbert/distilbert-base-uncased."""

_JINA: Mapping[str, Any] = {
    **_BERT,
    "architectures": ["JinaBertForMaskedLM"],
    "attn_implementation": None,
    "emb_pooler": "mean",
    "feed_forward_type": "geglu",
    "max_position_embeddings": 8192,
    "num_hidden_layers": 2,
    "position_embedding_type": "alibi",
    "vocab_size": 30528,
}
"""jinaai/jina-embeddings-v2-small-en, whose model is code of its own."""


def _jina_tensors() -> _Shapes:
    width, wide = 64, 256
    shapes: _Shapes = {
        "embeddings.LayerNorm.bias": (width,),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.word_embeddings.weight": (30528, width),
        "pooler.dense.bias": (width,),
        "pooler.dense.weight": (width, width),
    }
    for layer in range(2):
        stem = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{stem}.attention.{name}.bias"] = (width,)
            shapes[f"{stem}.attention.{name}.weight"] = (width, width)
        for name in ("attention.output.LayerNorm", "mlp.layernorm"):
            shapes[f"{stem}.{name}.bias"] = (width,)
            shapes[f"{stem}.{name}.weight"] = (width,)
        shapes[f"{stem}.mlp.gated_layers.weight"] = (2 * wide, width)
        shapes[f"{stem}.mlp.wo.bias"] = (width,)
        shapes[f"{stem}.mlp.wo.weight"] = (width, wide)
    return shapes


_NOMIC: Mapping[str, Any] = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "attn_pdrop": 0.0,
    "bos_token_id": None,
    "causal": False,
    "dense_seq_output": True,
    "embd_pdrop": 0.0,
    "eos_token_id": None,
    "fused_bias_fc": True,
    "fused_dropout_add_ln": True,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": 64,
    "n_head": 4,
    "n_inner": 256,
    "n_layer": 2,
    "n_positions": 8192,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.0,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "torch_dtype": "float32",
    "transformers_version": "4.37.2",
    "type_vocab_size": 2,
    "use_cache": True,
    "use_flash_attn": True,
    "use_rms_norm": False,
    "use_xentropy": True,
    "vocab_size": 30528,
}
"""nomic-ai/nomic-embed-text-v1.5."""


def _nomic_tensors() -> _Shapes:
    norms = ("emb_ln", *(f"encoder.layers.{i}.norm{n}" for i in (0, 1) for n in (1, 2)))
    layer: _Shapes = {
        "attn.Wqkv.weight": (192, 64),
        "attn.out_proj.weight": (64, 64),
        "mlp.fc11.weight": (256, 64),
        "mlp.fc12.weight": (256, 64),
        "mlp.fc2.weight": (64, 256),
    }
    return {
        "embeddings.word_embeddings.weight": (30528, 64),
        "embeddings.token_type_embeddings.weight": (2, 64),
        **{f"{name}.{part}": (64,) for name in norms for part in ("weight", "bias")},
        **{f"encoder.layers.{i}.{name}": shape for i in (0, 1) for name, shape in layer.items()},
    }


BERT_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("bge-tiny", _BERT, "bert", dtype="F32", auto="AutoModel", files=_POOLING),
    FamilyCase(
        "reranker-tiny",
        _RERANKER,
        "bert",
        dtype="F32",
        auto="AutoModelForSequenceClassification",
    ),
    FamilyCase("roberta-tiny", _ROBERTA, "gpt2", dtype="F32", auto="AutoModel"),
    FamilyCase("distilbert-tiny", _DISTILBERT, "bert", dtype="F32", auto="AutoModelForMaskedLM"),
    FamilyCase("jina-tiny", _JINA, "bert", dtype="F16", tensors=_jina_tensors()),
    FamilyCase("nomic-tiny", _NOMIC, "bert", dtype="F32", tensors=_nomic_tensors()),
)
