"""Models that keep a state: Mamba, Jamba, Falcon-H1, Granite 4, Nemotron-H, LFM2 with experts.

See `family_case.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import DEMO, DEMO_IDS, GPT2_IDS, FamilyCase

__all__ = ["STATE_SPACE_CASES"]

_SIZES: Mapping[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}

_MAMBA: Mapping[str, Any] = {
    "architectures": ["MambaForCausalLM"],
    "bos_token_id": 0,
    "conv_kernel": 4,
    "eos_token_id": 0,
    "expand": 2,
    "fused_add_norm": True,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.1,
    "intermediate_size": 128,
    "layer_norm_epsilon": 1e-05,
    "model_type": "mamba",
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "rescale_prenorm_residual": False,
    "residual_in_fp32": True,
    "rms_norm": True,
    "state_size": 16,
    "time_step_floor": 0.0001,
    "time_step_init_scheme": "random",
    "time_step_max": 0.1,
    "time_step_min": 0.001,
    "time_step_rank": 4,
    "time_step_scale": 1.0,
    "torch_dtype": "float32",
    "transformers_version": "4.39.0.dev0",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    "vocab_size": 50280,
}
"""state-spaces/mamba-130m-hf."""

_MAMBA2: Mapping[str, Any] = {
    "architectures": ["Mamba2ForCausalLM"],
    "bos_token_id": 0,
    "chunk_size": 256,
    "conv_kernel": 4,
    "eos_token_id": 0,
    "expand": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.1,
    "intermediate_size": 128,
    "layer_norm_epsilon": 1e-05,
    "model_type": "mamba2",
    "n_groups": 2,
    "norm_before_gate": True,
    "num_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "rescale_prenorm_residual": False,
    "residual_in_fp32": True,
    "rms_norm": True,
    "state_size": 32,
    "tie_word_embeddings": False,
    "time_step_floor": 0.0001,
    "time_step_init_scheme": "random",
    "time_step_limit": [0.0, 1e30],
    "time_step_max": 0.1,
    "time_step_min": 0.001,
    "time_step_rank": 16,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.44.0.dev0",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    **DEMO_IDS,
}
"""mistralai/Mamba-Codestral-7B-v0.1."""

_JAMBA: Mapping[str, Any] = {
    **_SIZES,
    **DEMO_IDS,
    "architectures": ["JambaForCausalLM"],
    "attention_dropout": 0.0,
    "attn_layer_offset": 1,
    "attn_layer_period": 3,
    "expert_layer_offset": 1,
    "expert_layer_period": 2,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_dt_rank": 8,
    "mamba_expand": 2,
    "mamba_proj_bias": False,
    "max_position_embeddings": 262144,
    "model_type": "jamba",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
    "num_logits_to_keep": 1,
    "output_router_logits": False,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "transformers_version": "4.40.1",
    "use_mamba_kernels": False,
}
"""ai21labs/AI21-Jamba-Mini-1.6."""

_FALCON_H1: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["FalconH1ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_in_multiplier": 1.1,
    "attention_out_multiplier": 0.9375,
    "embedding_multiplier": 5.656854249492381,
    "head_dim": 32,
    "key_multiplier": 0.390625,
    "lm_head_multiplier": 0.5,
    "mamba_chunk_size": 128,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_head": 32,
    "mamba_d_ssm": 128,
    "mamba_d_state": 32,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 4,
    "mamba_norm_before_gate": False,
    "mamba_proj_bias": False,
    "mamba_rms_norm": False,
    "mamba_use_mlp": True,
    "max_position_embeddings": 16384,
    "mlp_bias": False,
    "mlp_multipliers": [0.8838834764831844, 0.5859375],
    "model_type": "falcon_h1",
    "num_hidden_layers": 2,
    "num_logits_to_keep": 1,
    "pad_token_id": 0,
    "projectors_bias": False,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 100000000000.0,
    "ssm_in_multiplier": 1.25,
    "ssm_multipliers": [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738],
    "ssm_out_multiplier": 0.23570226039551587,
    "tie_word_embeddings": False,
    "transformers_version": "4.52.0.dev0",
}
"""tiiuae/Falcon-H1-1.5B-Instruct."""

_GRANITE4: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_multiplier": 0.0625,
    "embedding_multiplier": 12,
    "init_method": "mup",
    "intermediate_size": 32,
    "layer_types": ["mamba", "attention", "mamba"],
    "logits_scaling": 6,
    "mamba_chunk_size": 256,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 32,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 4,
    "mamba_proj_bias": False,
    "max_position_embeddings": 131072,
    "model_type": "granitemoehybrid",
    "normalization_function": "rmsnorm",
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "output_router_logits": False,
    "pad_token_id": 50256,
    "position_embedding_type": "nope",
    "residual_multiplier": 0.22,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000,
    "router_aux_loss_coef": 0.01,
    "shared_intermediate_size": 64,
    "tie_word_embeddings": True,
    "transformers_version": "4.56.0",
    "vocab_size": 50264,
}
"""ibm-granite/granite-4.0-h-tiny."""

_GRANITE4_DENSE: Mapping[str, Any] = {
    **_GRANITE4,
    "intermediate_size": 160,
    "layer_types": ["attention", "attention"],
    "num_experts_per_tok": 0,
    "num_hidden_layers": 2,
    "num_local_experts": 0,
    "position_embedding_type": "rope",
    "rope_theta": 10000000,
    "shared_intermediate_size": 160,
    "vocab_size": 50257,
}
"""ibm-granite/granite-4.0-micro."""

_NEMOTRON_H: Mapping[str, Any] = {
    **GPT2_IDS,
    "architectures": ["NemotronHForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "chunk_size": 128,
    "conv_kernel": 4,
    "expand": 2,
    "head_dim": 32,
    "hidden_dropout": 0.0,
    "hidden_size": 64,
    "hybrid_override_pattern": "M-M*-",
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "layer_norm_epsilon": 1e-05,
    "mamba_head_dim": 32,
    "mamba_hidden_act": "silu",
    "mamba_num_heads": 4,
    "mamba_proj_bias": False,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "model_type": "nemotron_h",
    "n_groups": 2,
    "num_attention_heads": 4,
    "num_hidden_layers": 5,
    "num_key_value_heads": 2,
    "num_logits_to_keep": 1,
    "pad_token_id": 0,
    "rescale_prenorm_residual": True,
    "residual_in_fp32": False,
    "rms_norm_eps": 1e-05,
    "sliding_window": None,
    "ssm_state_size": 32,
    "tie_word_embeddings": False,
    "time_step_floor": 0.0001,
    "time_step_max": 0.1,
    "time_step_min": 0.001,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.3",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    "use_mamba_kernels": True,
    "vocab_size": 50264,
}
"""nvidia/NVIDIA-Nemotron-Nano-9B-v2."""

_NEMOTRON3: Mapping[str, Any] = {
    **_NEMOTRON_H,
    "hybrid_override_pattern": "MEM*E",
    "moe_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 64,
    "n_group": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "norm_eps": 1e-05,
    "norm_topk_prob": True,
    "num_experts_per_tok": 2,
    "partial_rotary_factor": 1.0,
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "topk_group": 1,
    "transformers_version": "4.55.4",
}
"""nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16."""


def _nemotron_tensors(pattern: str) -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "backbone.embeddings.weight": [50264, 64],
        "backbone.norm_f.weight": [64],
        "lm_head.weight": [50264, 64],
    }
    for layer, kind in enumerate(pattern):
        stem = f"backbone.layers.{layer}.mixer"
        shapes[f"backbone.layers.{layer}.norm.weight"] = [64]
        match kind:
            case "M":
                shapes |= {
                    f"{stem}.A_log": [4],
                    f"{stem}.D": [4],
                    f"{stem}.conv1d.bias": [256],
                    f"{stem}.conv1d.weight": [256, 1, 4],
                    f"{stem}.dt_bias": [4],
                    f"{stem}.in_proj.weight": [388, 64],
                    f"{stem}.norm.weight": [128],
                    f"{stem}.out_proj.weight": [64, 128],
                }
            case "*":
                for name, shape in (("q", [128, 64]), ("k", [64, 64]), ("v", [64, 64])):
                    shapes[f"{stem}.{name}_proj.weight"] = shape
                shapes[f"{stem}.o_proj.weight"] = [64, 128]
            case "-":
                shapes |= _up_and_down(stem, 160)
            case _:
                shapes[f"{stem}.gate.weight"] = [4, 64]
                shapes[f"{stem}.gate.e_score_correction_bias"] = [4]
                shapes |= _up_and_down(f"{stem}.shared_experts", 64)
                for expert in range(4):
                    shapes |= _up_and_down(f"{stem}.experts.{expert}", 32)
    return shapes


def _up_and_down(stem: str, width: int) -> dict[str, Sequence[int]]:
    return {f"{stem}.up_proj.weight": [width, 64], f"{stem}.down_proj.weight": [64, width]}


_LFM2_MOE: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["Lfm2MoeForCausalLM"],
    "conv_L_cache": 3,
    "conv_bias": False,
    "layer_types": ["conv", "full_attention", "conv"],
    "max_position_embeddings": 128000,
    "model_type": "lfm2_moe",
    "moe_intermediate_size": 32,
    "norm_eps": 1e-05,
    "norm_topk_prob": True,
    "num_dense_layers": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
    "rope_theta": 1000000.0,
    "routed_scaling_factor": 1.0,
    "transformers_version": "4.57.0.dev0",
    "use_expert_bias": True,
}
"""LiquidAI/LFM2-8B-A1B."""

STATE_SPACE_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("mamba-tiny", _MAMBA, "gpt2", dtype="F32"),
    FamilyCase("mamba2-tiny", _MAMBA2, DEMO),
    FamilyCase("jamba-tiny", _JAMBA, DEMO),
    FamilyCase("falcon-h1", _FALCON_H1, "gpt2"),
    FamilyCase("granite4-tiny", _GRANITE4, "gpt2"),
    FamilyCase("granite4-dense", _GRANITE4_DENSE, "gpt2"),
    FamilyCase("nemotron-h", _NEMOTRON_H, "gpt2", tensors=_nemotron_tensors("M-M*-")),
    FamilyCase("nemotron3-moe", _NEMOTRON3, "gpt2", tensors=_nemotron_tensors("MEM*E")),
    FamilyCase("lfm2-moe", _LFM2_MOE, "gpt2"),
)
