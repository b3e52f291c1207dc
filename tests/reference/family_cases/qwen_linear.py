"""Qwen3-Next and Qwen3.5: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import GPT2_IDS, FamilyCase

__all__ = ["QWEN_LINEAR_CASES"]

_LINEAR: Mapping[str, Any] = {
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 32,
}

_QWEN3_NEXT: Mapping[str, Any] = {
    "architectures": ["Qwen3NextForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    **GPT2_IDS,
    "decoder_sparse_step": 1,
    "full_attention_interval": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    **_LINEAR,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "model_type": "qwen3_next",
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "partial_rotary_factor": 0.25,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000000,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0.dev0",
    "use_cache": True,
    "use_sliding_window": False,
}
"""Qwen/Qwen3-Next-80B-A3B-Instruct."""

_QWEN35_TEXT: Mapping[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_output_gate": True,
    "dtype": "bfloat16",
    "eos_token_id": 50256,
    "full_attention_interval": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "layer_types": [*["linear_attention"] * 3, "full_attention"],
    **_LINEAR,
    "mamba_ssm_dtype": "float32",
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "model_type": "qwen3_5_text",
    "mtp_num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "mrope_interleaved": True,
        "mrope_section": [2, 1, 1],
        "partial_rotary_factor": 0.25,
        "rope_theta": 10000000,
        "rope_type": "default",
    },
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 50257,
}

_QWEN35: Mapping[str, Any] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "image_token_id": 50248,
    "model_type": "qwen3_5",
    "text_config": _QWEN35_TEXT,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "vision_config": {"depth": 1, "hidden_size": 32, "model_type": "qwen3_5"},
}
"""Qwen/Qwen3.5-4B."""


def _attention(stem: str) -> dict[str, Sequence[int]]:
    return {
        f"{stem}.self_attn.q_proj.weight": [256, 64],
        f"{stem}.self_attn.k_proj.weight": [64, 64],
        f"{stem}.self_attn.v_proj.weight": [64, 64],
        f"{stem}.self_attn.o_proj.weight": [64, 128],
        f"{stem}.self_attn.q_norm.weight": [32],
        f"{stem}.self_attn.k_norm.weight": [32],
    }


def _linear(stem: str) -> dict[str, Sequence[int]]:
    return {
        f"{stem}.linear_attn.A_log": [4],
        f"{stem}.linear_attn.dt_bias": [4],
        f"{stem}.linear_attn.conv1d.weight": [256, 1, 4],
        f"{stem}.linear_attn.in_proj_a.weight": [4, 64],
        f"{stem}.linear_attn.in_proj_b.weight": [4, 64],
        f"{stem}.linear_attn.in_proj_qkv.weight": [256, 64],
        f"{stem}.linear_attn.in_proj_z.weight": [128, 64],
        f"{stem}.linear_attn.norm.weight": [32],
        f"{stem}.linear_attn.out_proj.weight": [64, 128],
    }


def _rest(stem: str, *, experts: bool) -> dict[str, Sequence[int]]:
    norms = ("input_layernorm", "post_attention_layernorm")
    shapes: dict[str, Sequence[int]] = {f"{stem}.{norm}.weight": [64] for norm in norms}
    if not experts:
        matrices = (("gate", [128, 64]), ("up", [128, 64]), ("down", [64, 128]))
        return shapes | {f"{stem}.mlp.{kind}_proj.weight": shape for kind, shape in matrices}
    shared = (("gate", [32, 64]), ("up", [32, 64]), ("down", [64, 32]))
    return (
        shapes
        | {f"{stem}.mlp.shared_expert.{kind}_proj.weight": shape for kind, shape in shared}
        | {
            f"{stem}.mlp.shared_expert_gate.weight": [1, 64],
            f"{stem}.mlp.gate.weight": [4, 64],
            f"{stem}.mlp.experts.gate_up_proj": [4, 64, 64],
            f"{stem}.mlp.experts.down_proj": [4, 64, 32],
        }
    )


def _next_token() -> dict[str, Sequence[int]]:
    """The layer of Qwen3-Next that predicts one token more, each expert by itself."""
    stem = "mtp.layers.0"
    shapes: dict[str, Sequence[int]] = {
        "mtp.fc.weight": [64, 128],
        "mtp.norm.weight": [64],
        "mtp.pre_fc_norm_embedding.weight": [64],
        "mtp.pre_fc_norm_hidden.weight": [64],
        **_attention(stem),
        **_rest(stem, experts=True),
    }
    for kind in ("gate_up_proj", "down_proj"):
        del shapes[f"{stem}.mlp.experts.{kind}"]
    for expert in range(4):
        for kind, shape in (("gate", [32, 64]), ("up", [32, 64]), ("down", [64, 32])):
            shapes[f"{stem}.mlp.experts.{expert}.{kind}_proj.weight"] = shape
    return shapes


def _qwen35_tensors(*, experts: bool) -> dict[str, Sequence[int]]:
    """As the published checkpoints name them."""
    root = "model.language_model"
    shapes: dict[str, Sequence[int]] = {
        f"{root}.embed_tokens.weight": [50257, 64],
        f"{root}.norm.weight": [64],
        "model.visual.patch_embed.proj.bias": [32],
        "mtp.fc.weight": [64, 128],
        "mtp.norm.weight": [64],
        "mtp.pre_fc_norm_embedding.weight": [64],
        "mtp.pre_fc_norm_hidden.weight": [64],
        **_attention("mtp.layers.0"),
        **_rest("mtp.layers.0", experts=experts),
    }
    for layer in range(4):
        stem = f"{root}.layers.{layer}"
        shapes |= _attention(stem) if layer == 3 else _linear(stem)
        shapes |= _rest(stem, experts=experts)
    return shapes


_QWEN35_MOE: Mapping[str, Any] = {
    **_QWEN35,
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "model_type": "qwen3_5_moe",
    "text_config": {
        **{key: value for key, value in _QWEN35_TEXT.items() if key != "intermediate_size"},
        "model_type": "qwen3_5_moe_text",
        "moe_intermediate_size": 32,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.001,
        "shared_expert_intermediate_size": 32,
    },
}
"""Qwen/Qwen3.5-35B-A3B."""

QWEN_LINEAR_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("qwen3-next", _QWEN3_NEXT, "gpt2", more=_next_token()),
    FamilyCase("qwen35-tiny", _QWEN35, "gpt2", tensors=_qwen35_tensors(experts=False)),
    FamilyCase("qwen35-moe", _QWEN35_MOE, "gpt2", tensors=_qwen35_tensors(experts=True)),
)
