"""GPT-2, GPT-NeoX, Falcon, StarCoder, StableLM, BLOOM: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["GPT_CASES"]

_GPT2: Mapping[str, Any] = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 64,
    "n_head": 4,
    "n_layer": 2,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}
"""openai-community/gpt2, whose tensors have no prefix."""

_GPT_BIGCODE: Mapping[str, Any] = {
    "activation_function": "gelu_pytorch_tanh",
    "architectures": ["GPTBigCodeForCausalLM"],
    "attention_softmax_in_fp32": True,
    "attn_pdrop": 0.1,
    "bos_token_id": 0,
    "embd_pdrop": 0.1,
    "eos_token_id": 0,
    "inference_runner": 0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "max_batch_size": None,
    "max_sequence_length": None,
    "model_type": "gpt_bigcode",
    "multi_query": True,
    "n_embd": 128,
    "n_head": 4,
    "n_inner": 512,
    "n_layer": 2,
    "n_positions": 8192,
    "pad_key_length": True,
    "pre_allocate_kv_cache": False,
    "resid_pdrop": 0.1,
    "scale_attention_softmax_in_fp32": True,
    "scale_attn_weights": True,
    "torch_dtype": "float32",
    "transformers_version": "4.28.1",
    "use_cache": True,
    "validate_runner_input": True,
    "vocab_size": 49152,
}
"""bigcode/starcoderbase-1b."""

_PYTHIA: Mapping[str, Any] = {
    "architectures": ["GPTNeoXForCausalLM"],
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "gelu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "gpt_neox",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.24.0",
    "use_cache": True,
    "use_parallel_residual": True,
    "vocab_size": 50304,
}
"""EleutherAI/pythia-160m."""

_FALCON7: Mapping[str, Any] = {
    "alibi": False,
    "apply_residual_connection_post_layernorm": False,
    "architectures": ["FalconForCausalLM"],
    "attention_dropout": 0.0,
    "bias": False,
    "bos_token_id": 11,
    "eos_token_id": 11,
    "hidden_dropout": 0.0,
    "hidden_size": 64,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "falcon",
    "multi_query": True,
    "new_decoder_architecture": False,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_kv_heads": 1,
    "parallel_attn": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.27.4",
    "use_cache": True,
    "vocab_size": 50257,
}
"""tiiuae/falcon-7b."""

_FALCON40: Mapping[str, Any] = {
    **_FALCON7,
    "hidden_size": 256,
    "new_decoder_architecture": True,
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_kv_heads": 2,
}
"""tiiuae/falcon-40b: grouped heads, two norms."""

_STARCODER2: Mapping[str, Any] = {
    "activation_function": "gelu",
    "architectures": ["Starcoder2ForCausalLM"],
    "attention_dropout": 0.1,
    "attention_softmax_in_fp32": True,
    "bos_token_id": 0,
    "embedding_dropout": 0.1,
    "eos_token_id": 0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 256,
    "initializer_range": 0.018042,
    "intermediate_size": 1024,
    "layer_norm_epsilon": 1e-05,
    "max_position_embeddings": 16384,
    "mlp_type": "default",
    "model_type": "starcoder2",
    "norm_epsilon": 1e-05,
    "norm_type": "layer_norm",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "residual_dropout": 0.1,
    "rope_theta": 999999.4420358813,
    "scale_attention_softmax_in_fp32": True,
    "scale_attn_weights": True,
    "sliding_window": 4096,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.37.0.dev0",
    "use_bias": True,
    "use_cache": True,
    "vocab_size": 49152,
}
"""bigcode/starcoder2-3b."""

_STABLELM2: Mapping[str, Any] = {
    "architectures": ["StableLmForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 100257,
    "eos_token_id": 100257,
    "hidden_act": "silu",
    "hidden_dropout": 0.0,
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 4096,
    "model_type": "stablelm",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "partial_rotary_factor": 0.25,
    "rope_scaling": None,
    "rope_theta": 10000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.38.0",
    "use_cache": True,
    "use_qkv_bias": True,
    "vocab_size": 50304,
}
"""stabilityai/stablelm-2-1_6b."""

_STABLELM12: Mapping[str, Any] = {
    **_STABLELM2,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "qk_layernorm": True,
    "use_parallel_residual": True,
    "use_qkv_bias": False,
}
"""stabilityai/stablelm-2-12b: every head has a norm, the feed-forward network none."""

_BLOOM: Mapping[str, Any] = {
    "apply_residual_connection_post_layernorm": False,
    "architectures": ["BloomForCausalLM"],
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_dropout": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "masked_softmax_fusion": True,
    "model_type": "bloom",
    "n_embed": 128,
    "n_inner": None,
    "n_layer": 2,
    "num_attention_heads": 4,
    "offset_alibi": 100,
    "pad_token_id": 3,
    "pretraining_tp": 1,
    "seq_length": 2048,
    "skip_bias_add": True,
    "skip_bias_add_qkv": False,
    "unk_token_id": 0,
    "use_cache": True,
    "vocab_size": 50304,
}
"""bigscience/bloom-560m, whose tensors have no prefix."""


def _bare(name: str) -> str | None:
    return name.removeprefix("transformer.")


GPT_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("gpt2-tiny", _GPT2, "gpt2", dtype="F32", rename=_bare),
    FamilyCase("gpt2-256", {**_GPT2, "n_embd": 256, "n_head": 8}, "gpt2"),
    FamilyCase("starcoder-tiny", _GPT_BIGCODE, "smollm2", dtype="F32"),
    FamilyCase("pythia-tiny", _PYTHIA, "gpt2", dtype="F16"),
    FamilyCase(
        "neox-serial",
        {
            **_PYTHIA,
            "hidden_size": 256,
            "num_attention_heads": 8,
            "rotary_pct": 1.0,
            "use_parallel_residual": False,
        },
        "gpt2",
    ),
    FamilyCase("falcon7-tiny", _FALCON7, "gpt2"),
    FamilyCase("falcon40-tiny", _FALCON40, "gpt2"),
    FamilyCase("starcoder2-tiny", _STARCODER2, "smollm2"),
    FamilyCase("stablelm2-tiny", _STABLELM2, "gpt2"),
    FamilyCase("stablelm12-tiny", _STABLELM12, "gpt2"),
    FamilyCase("bloom-tiny", _BLOOM, "gpt2", dtype="F16", rename=_bare),
)
