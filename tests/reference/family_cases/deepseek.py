"""DeepSeek, GLM-4.5 and MiniMax-M2: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.family_case import GPT2_IDS, FamilyCase
from tests.tekken_tokenizer import KIMI_SIZE

__all__ = ["DEEPSEEK_CASES"]

_SIZES: Mapping[str, Any] = {
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}

_DEEPSEEK_V2: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["DeepseekV2ForCausalLM"],
    "attention_bias": False,
    "aux_loss_alpha": 0.001,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "kv_lora_rank": 32,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 27,  # by which llama.cpp knows it
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "greedy",
    "transformers_version": "4.33.1",
    "v_head_dim": 32,
}
"""deepseek-ai/DeepSeek-V2-Lite."""

_DEEPSEEK_V3: Mapping[str, Any] = {
    **_DEEPSEEK_V2,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "n_group": 2,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 48,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_group": 1,
    "topk_method": "noaux_tc",
}
"""deepseek-ai/DeepSeek-V3."""

_DEEPSEEK_V32: Mapping[str, Any] = {
    **_DEEPSEEK_V3,
    "architectures": ["DeepseekV32ForCausalLM"],
    "first_k_dense_replace": 1,
    "index_head_dim": 128,
    "index_n_heads": 4,
    "index_topk": 2048,
    "model_type": "deepseek_v32",
}
"""deepseek-ai/DeepSeek-V3.2."""


def _deepseek_v32_tensors() -> dict[str, Sequence[int]]:
    config = _DEEPSEEK_V32
    width, heads = config["hidden_size"], config["num_attention_heads"]
    key, turned = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    value, kept, q_kept = config["v_head_dim"], config["kv_lora_rank"], config["q_lora_rank"]
    wide, expert = config["intermediate_size"], config["moe_intermediate_size"]
    experts, vocabulary = config["n_routed_experts"], config["vocab_size"]
    index = config["index_n_heads"] * config["index_head_dim"]
    shapes: dict[str, Sequence[int]] = {
        "lm_head.weight": [vocabulary, width],
        "model.embed_tokens.weight": [vocabulary, width],
        "model.norm.weight": [width],
    }
    for layer in range(3):
        stem = f"model.layers.{layer}"
        attention = f"{stem}.self_attn"
        shapes |= {
            f"{stem}.input_layernorm.weight": [width],
            f"{stem}.post_attention_layernorm.weight": [width],
            f"{attention}.indexer.k_norm.bias": [config["index_head_dim"]],
            f"{attention}.indexer.k_norm.weight": [config["index_head_dim"]],
            f"{attention}.indexer.weights_proj.weight": [config["index_n_heads"], width],
            f"{attention}.indexer.wk.weight": [config["index_head_dim"], width],
            f"{attention}.indexer.wq_b.weight": [index, q_kept],
            f"{attention}.kv_a_layernorm.weight": [kept],
            f"{attention}.kv_a_proj_with_mqa.weight": [kept + turned, width],
            f"{attention}.kv_b_proj.weight": [heads * (key + value), kept],
            f"{attention}.o_proj.weight": [width, heads * value],
            f"{attention}.q_a_layernorm.weight": [q_kept],
            f"{attention}.q_a_proj.weight": [q_kept, width],
            f"{attention}.q_b_proj.weight": [heads * (key + turned), q_kept],
        }
        parts = {"": wide} if layer == 0 else {"shared_experts.": expert}
        if layer:
            shapes[f"{stem}.mlp.gate.weight"] = [experts, width]
            shapes[f"{stem}.mlp.gate.e_score_correction_bias"] = [experts]
            parts |= {f"experts.{i}.": expert for i in range(experts)}
        for part, size in parts.items():
            shapes[f"{stem}.mlp.{part}down_proj.weight"] = [width, size]
            shapes[f"{stem}.mlp.{part}gate_proj.weight"] = [size, width]
            shapes[f"{stem}.mlp.{part}up_proj.weight"] = [size, width]
    last = "model.layers.2"
    shapes |= {
        f"{last}.eh_proj.weight": [width, 2 * width],
        f"{last}.embed_tokens.weight": [vocabulary, width],
        f"{last}.enorm.weight": [width],
        f"{last}.hnorm.weight": [width],
        f"{last}.shared_head.head.weight": [vocabulary, width],
        f"{last}.shared_head.norm.weight": [width],
    }
    return shapes


_KIMI_K2: Mapping[str, Any] = {
    **_DEEPSEEK_V3,
    "bos_token_id": KIMI_SIZE - 256,
    "eos_token_id": KIMI_SIZE - 255,
    "model_type": "kimi_k2",
    "n_group": 1,
    "num_nextn_predict_layers": 0,
    "vocab_size": KIMI_SIZE,
}
"""moonshotai/Kimi-K2-Instruct, whose tokenizer is a list of ranks and code of its own."""


def _kimi_tensors() -> dict[str, Sequence[int]]:
    """Those of DeepSeek-V3.2 without its index and without the layer that predicts a token more."""
    return {
        name: [KIMI_SIZE if size == _DEEPSEEK_V32["vocab_size"] else size for size in shape]
        for name, shape in _deepseek_v32_tensors().items()
        if ".indexer." not in name and ".layers.2." not in name
    }


_GLM4_MOE: Mapping[str, Any] = {
    **_SIZES,
    "architectures": ["Glm4MoeForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": [50256],
    "first_k_dense_replace": 1,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "model_type": "glm4_moe",
    "moe_intermediate_size": 32,
    "n_group": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 2,
    "num_nextn_predict_layers": 1,
    "pad_token_id": 50256,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "transformers_version": "4.54.0",
    "use_qk_norm": True,
    "vocab_size": 50400,
}
"""zai-org/GLM-4.5-Air, with the norms of GLM-4.5."""


def _glm_next_token() -> dict[str, Sequence[int]]:
    stem = "model.layers.2"
    shapes: dict[str, Sequence[int]] = {
        f"{stem}.eh_proj.weight": [64, 128],
        f"{stem}.enorm.weight": [64],
        f"{stem}.hnorm.weight": [64],
        f"{stem}.shared_head.norm.weight": [64],
        f"{stem}.input_layernorm.weight": [64],
        f"{stem}.post_attention_layernorm.weight": [64],
        f"{stem}.mlp.gate.weight": [4, 64],
        f"{stem}.mlp.gate.e_score_correction_bias": [4],
        f"{stem}.self_attn.o_proj.weight": [64, 128],
        f"{stem}.self_attn.q_norm.weight": [32],
        f"{stem}.self_attn.k_norm.weight": [32],
    }
    for kind, rows in (("q", 128), ("k", 64), ("v", 64)):
        shapes[f"{stem}.self_attn.{kind}_proj.weight"] = [rows, 64]
        shapes[f"{stem}.self_attn.{kind}_proj.bias"] = [rows]
    for kind, shape in (("gate", [32, 64]), ("up", [32, 64]), ("down", [64, 32])):
        shapes[f"{stem}.mlp.shared_experts.{kind}_proj.weight"] = shape
        for expert in range(4):
            shapes[f"{stem}.mlp.experts.{expert}.{kind}_proj.weight"] = shape
    return shapes


_MINIMAX_M2: Mapping[str, Any] = {
    **_SIZES,
    **GPT2_IDS,
    "architectures": ["MiniMaxM2ForCausalLM"],
    "attn_type_list": [1, 1],
    "head_dim": 32,
    "hidden_act": "silu",
    "intermediate_size": 32,
    "max_position_embeddings": 196608,
    "model_type": "minimax_m2",
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "qk_norm_type": "per_layer",
    "rms_norm_eps": 1e-06,
    "rope_theta": 5000000,
    "rotary_dim": 16,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "transformers_version": "4.46.1",
    "use_qk_norm": True,
    "use_routing_bias": True,
}
"""MiniMaxAI/MiniMax-M2."""


def _minimax_tensors() -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {
        "lm_head.weight": [50257, 64],
        "model.embed_tokens.weight": [50257, 64],
        "model.norm.weight": [64],
    }
    for layer in range(2):
        stem = f"model.layers.{layer}"
        shapes |= {
            f"{stem}.input_layernorm.weight": [64],
            f"{stem}.post_attention_layernorm.weight": [64],
            f"{stem}.self_attn.q_proj.weight": [128, 64],
            f"{stem}.self_attn.k_proj.weight": [64, 64],
            f"{stem}.self_attn.v_proj.weight": [64, 64],
            f"{stem}.self_attn.o_proj.weight": [64, 128],
            f"{stem}.self_attn.q_norm.weight": [128],
            f"{stem}.self_attn.k_norm.weight": [64],
            f"{stem}.block_sparse_moe.gate.weight": [4, 64],
            f"{stem}.block_sparse_moe.e_score_correction_bias": [4],
        }
        for expert in range(4):
            for kind, shape in (("w1", [32, 64]), ("w2", [64, 32]), ("w3", [32, 64])):
                shapes[f"{stem}.block_sparse_moe.experts.{expert}.{kind}.weight"] = shape
    return shapes


DEEPSEEK_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("deepseek-v2", _DEEPSEEK_V2, "gpt2"),
    FamilyCase("deepseek-v3", _DEEPSEEK_V3, "gpt2"),
    FamilyCase("deepseek-v32", _DEEPSEEK_V32, "gpt2", tensors=_deepseek_v32_tensors()),
    FamilyCase("kimi-k2", _KIMI_K2, "kimi", tensors=_kimi_tensors()),
    FamilyCase(
        "glm4-moe",
        _GLM4_MOE,
        "gpt2",
        more=_glm_next_token(),
        added_tokens=("[gMASK]", "<|user|>", "<|observation|>"),
    ),
    FamilyCase("minimax-m2", _MINIMAX_M2, "gpt2", tensors=_minimax_tensors()),
)
