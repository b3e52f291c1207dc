"""Qwen3-Next, Qwen3.5, the text parts of Qwen-VL, gpt-oss: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["FAMILY_CASES_D"]

_DEMO = "models/stories260K-hf"
_DEMO_IDS = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": 512}
_GPT2_IDS = {"bos_token_id": 50256, "eos_token_id": 50256, "vocab_size": 50257}

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
    **_GPT2_IDS,
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

_VISION_SMALL: Mapping[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
}
_QWEN2_VL: Mapping[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    **_DEMO_IDS,
    "hidden_act": "silu",
    "hidden_size": 64,
    "image_token_id": 500,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 128000,
    "max_window_layers": 70,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"mrope_section": [2, 3, 3], "type": "mrope"},
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "video_token_id": 501,
    "vision_config": {**_VISION_SMALL, "model_type": "qwen2_5_vl"},
    "vision_end_token_id": 502,
    "vision_start_token_id": 503,
    "vision_token_id": 504,
}
"""Qwen/Qwen2.5-VL-3B-Instruct."""

_QWEN3_VL: Mapping[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 500,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_DEMO_IDS,
        "dtype": "bfloat16",
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 160,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [6, 5, 5],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 501,
    "vision_config": {
        **_VISION_SMALL,
        "deepstack_visual_indexes": [0],
        "model_type": "qwen3_vl",
        "num_position_embeddings": 64,
    },
    "vision_end_token_id": 502,
    "vision_start_token_id": 503,
}
"""Qwen/Qwen3-VL-4B-Instruct."""

_QWEN3_VL_MOE: Mapping[str, Any] = {
    **_QWEN3_VL,
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "model_type": "qwen3_vl_moe",
    "text_config": {
        **_QWEN3_VL["text_config"],
        **_GPT2_IDS,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "model_type": "qwen3_vl_moe_text",
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    },
    "tie_word_embeddings": False,
    "vision_config": {**_QWEN3_VL["vision_config"], "model_type": "qwen3_vl_moe"},
}
"""Qwen/Qwen3-VL-30B-A3B-Instruct."""

_GPT_OSS: Mapping[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 50256,
    "experts_per_token": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "output_router_logits": False,
    "pad_token_id": 50256,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
    "vocab_size": 50257,
}
"""openai/gpt-oss-20b."""


def _gpt_oss_tensors() -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "lm_head.weight": [50257, 64],
        "model.embed_tokens.weight": [50257, 64],
        "model.norm.weight": [64],
    }
    for layer in range(2):
        stem = f"model.layers.{layer}"
        for kind, rows in (("q", 128), ("k", 64), ("v", 64)):
            shapes[f"{stem}.self_attn.{kind}_proj.weight"] = [rows, 64]
            shapes[f"{stem}.self_attn.{kind}_proj.bias"] = [rows]
        shapes |= {
            f"{stem}.input_layernorm.weight": [64],
            f"{stem}.post_attention_layernorm.weight": [64],
            f"{stem}.self_attn.o_proj.weight": [64, 128],
            f"{stem}.self_attn.o_proj.bias": [64],
            f"{stem}.self_attn.sinks": [4],
            f"{stem}.mlp.router.weight": [4, 64],
            f"{stem}.mlp.router.bias": [4],
            f"{stem}.mlp.experts.gate_up_proj_blocks": [4, 128, 2, 16],
            f"{stem}.mlp.experts.gate_up_proj_scales": [4, 128, 2],
            f"{stem}.mlp.experts.gate_up_proj_bias": [4, 128],
            f"{stem}.mlp.experts.down_proj_blocks": [4, 64, 2, 16],
            f"{stem}.mlp.experts.down_proj_scales": [4, 64, 2],
            f"{stem}.mlp.experts.down_proj_bias": [4, 64],
        }
    return shapes


_PACKED = {"_blocks": "U8", "_scales": "U8"}

_SEES = "AutoModelForImageTextToText"

FAMILY_CASES_D = (
    FamilyCase("qwen3-next", _QWEN3_NEXT, "gpt2", more=_next_token()),
    FamilyCase("qwen35-tiny", _QWEN35, "gpt2", tensors=_qwen35_tensors(experts=False)),
    FamilyCase("qwen35-moe", _QWEN35_MOE, "gpt2", tensors=_qwen35_tensors(experts=True)),
    FamilyCase("gpt-oss", _GPT_OSS, "gpt2", tensors=_gpt_oss_tensors(), dtypes=_PACKED),
    FamilyCase("qwen25-vl", _QWEN2_VL, _DEMO, auto=_SEES),
    FamilyCase("qwen3-vl", _QWEN3_VL, _DEMO, auto=_SEES),
    FamilyCase("qwen3-vl-moe", _QWEN3_VL_MOE, "gpt2", auto=_SEES),
)
