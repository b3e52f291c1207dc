"""Qwen, Mistral, Phi, Gemma, SmolLM3 and Granite: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["FAMILY_CASES_A"]

_DEMO = "models/stories260K-hf"
"""A SentencePiece tokenizer of 512 tokens, which leaves room for wide rows."""
_DEMO_IDS = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": 512}

_QWEN2: Mapping[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
"""Qwen/Qwen2.5-0.5B-Instruct."""

_QWEN3: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 192,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
"""Qwen/Qwen3-0.6B."""

_QWEN = (
    FamilyCase("qwen25-tiny", _QWEN2, "qwen2.5"),
    FamilyCase(
        "qwen25-yarn",
        {
            **_QWEN2,
            **_DEMO_IDS,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_attention_heads": 8,
            "num_hidden_layers": 4,
            "tie_word_embeddings": False,
            "rope_scaling": {
                "factor": 4.0,
                "original_max_position_embeddings": 32768,
                "type": "yarn",
            },
        },
        _DEMO,
        shards=2,
    ),
    FamilyCase("qwen3-tiny", _QWEN3, "qwen3"),
    FamilyCase(
        "qwen3-wide",
        {
            **_QWEN3,
            **_DEMO_IDS,
            "head_dim": 64,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_attention_heads": 8,
            "num_hidden_layers": 4,
            "tie_word_embeddings": False,
        },
        _DEMO,
    ),
)

_EMBEDDER_FILES: Mapping[str, Any] = {
    "1_Pooling/config.json": {
        "include_prompt": True,
        "pooling_mode_cls_token": False,
        "pooling_mode_lasttoken": True,
        "pooling_mode_mean_tokens": False,
        "word_embedding_dimension": 256,
    },
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ],
}


def _without_prefix(name: str) -> str | None:
    """Qwen3-Embedding was saved without its output."""
    return name.removeprefix("model.")


_EMBEDDER = FamilyCase(
    "qwen3-embedding",
    {**_QWEN3, **_DEMO_IDS, "hidden_size": 256, "intermediate_size": 512},
    _DEMO,
    rename=_without_prefix,
    files=_EMBEDDER_FILES,
)

_QWEN2_MOE: Mapping[str, Any] = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 96,
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 352,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.39.0.dev0",
    "use_cache": True,
    "use_sliding_window": False,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "vocab_size": 50257,
}
"""Qwen/Qwen1.5-MoE-A2.7B."""

_QWEN3_MOE: Mapping[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 256,
    "norm_topk_prob": True,
    "num_attention_heads": 8,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "vocab_size": 50257,
}
"""Qwen/Qwen3-30B-A3B."""

_QWEN_MOE = (
    FamilyCase("qwen2-moe", _QWEN2_MOE, "gpt2"),
    FamilyCase("qwen3-moe", _QWEN3_MOE, "gpt2", shards=3),
)

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
    **_DEMO_IDS,
}
"""mistralai/Mixtral-8x7B-Instruct-v0.1."""

_MISTRALS = (
    FamilyCase("mistral-tiny", _MISTRAL, "llama2"),
    # Mistral-Nemo: heads narrower than the model is wide divided by them.
    FamilyCase(
        "mistral-nemo",
        {
            **_MISTRAL,
            **_DEMO_IDS,
            "head_dim": 64,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_attention_heads": 8,
            "max_position_embeddings": 131072,
            "rope_theta": 1000000.0,
            "sliding_window": None,
        },
        _DEMO,
        shards=2,
    ),
    FamilyCase("mixtral-tiny", _MIXTRAL, _DEMO, shards=2),
)

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
            **_DEMO_IDS,
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
        _DEMO,
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
            **_DEMO_IDS,
            "pad_token_id": 2,
            "hidden_size": 256,
            "max_position_embeddings": 16384,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "original_max_position_embeddings": 16384,
            "rope_theta": 250000,
            "sliding_window": None,
        },
        _DEMO,
    ),
)

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
    **_DEMO_IDS,
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
    **_DEMO_IDS,
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
    **_DEMO_IDS,
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
    FamilyCase("gemma-tiny", _GEMMA, _DEMO, rename=_tied),
    FamilyCase("gemma2-tiny", _GEMMA2, _DEMO, shards=2, rename=_tied),
    FamilyCase("gemma3-tiny", _GEMMA3, _DEMO, rename=_tied),
    FamilyCase(
        "gemma3-multimodal",
        _GEMMA3_MULTIMODAL,
        _DEMO,
        auto="AutoModelForImageTextToText",
        rename=_tied,
    ),
)

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
    **_DEMO_IDS,
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
            **_DEMO_IDS,
            "architectures": ["GraniteMoeForCausalLM"],
            "hidden_size": 256,
            "intermediate_size": 256,
            "model_type": "granitemoe",
            "num_experts_per_tok": 2,
            "num_local_experts": 5,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
        },
        _DEMO,
    ),
    # Granite 4 tiny's layers of attention: beside the experts one that is always asked.
    FamilyCase(
        "granite-moe-shared",
        {
            **_GRANITE,
            **_DEMO_IDS,
            "architectures": ["GraniteMoeSharedForCausalLM"],
            "intermediate_size": 96,
            "model_type": "granitemoeshared",
            "num_experts_per_tok": 2,
            "num_local_experts": 4,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
            "shared_intermediate_size": 160,
        },
        _DEMO,
    ),
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
            **_QWEN3,
            **_DEMO_IDS,
            "head_dim": 48,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_attention_heads": 8,
            "quantization_config": _FLOAT8_CONFIG,
        },
        _DEMO,
        dtypes=_FLOAT8,
    ),
    # Rows in another order, one factor for each matrix.
    FamilyCase(
        "mistral-fp8",
        {
            **_MISTRAL,
            **_DEMO_IDS,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "quantization_config": {**_FLOAT8_CONFIG, "weight_block_size": None},
        },
        _DEMO,
        dtypes=_FLOAT8,
        shards=2,
    ),
)

FAMILY_CASES_A: tuple[FamilyCase, ...] = (
    *_QWEN,
    _EMBEDDER,
    *_QWEN_MOE,
    *_MISTRALS,
    *_PHIS,
    *_GEMMAS,
    FamilyCase("smollm3-tiny", _SMOLLM3, _DEMO),
    *_GRANITES,
    *_FLOAT8_CASES,
)
