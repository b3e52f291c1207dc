"""The shapes of tensors by their names, for each architecture what is its own.

Source: the `create_tensor` calls of llama.cpp `src/models/*.cpp` (the release inside
llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from localq.formats.shape_sizes import Sizes

__all__ = ["RULES", "RULES_OF", "Rule", "Shape"]

Shape = tuple[int, ...]
"""The fastest dimension first, as ggml has it."""

Rule = Callable[[Sizes], Shape]

RULES: Mapping[str, Rule] = {
    "token_embd": lambda s: (s.embd, s.vocab),
    "token_embd_norm": lambda s: (s.embd,),
    "token_types": lambda s: (s.embd, s.token_types),
    "position_embd": lambda s: (s.embd, s.of("context_length")),
    "output": lambda s: (s.embd, s.vocab),
    "output_norm": lambda s: (s.embd,),
    "cls.norm": lambda s: (s.embd,),
    "enc.output_norm": lambda s: (s.embd,),
    "cls": lambda s: (s.embd, s.embd),
    "cls.output": lambda s: (s.embd, s.labels),
    "rope_freqs": lambda s: (s.turned,),
    "rope_factors_long": lambda s: (s.turned,),
    "rope_factors_short": lambda s: (s.turned,),
    "attn_norm": lambda s: (s.embd,),
    "attn_norm_2": lambda s: (s.embd,),
    "attn_q": lambda s: (s.embd, s.q),
    "attn_k": lambda s: (s.embd, s.k),
    "attn_v": lambda s: (s.embd, s.v),
    "attn_qkv": lambda s: (s.embd, s.q + s.k + s.v),
    "attn_output": lambda s: (s.o, s.embd),
    "attn_q_norm": lambda s: (s.key,),
    "attn_k_norm": lambda s: (s.key,),
    "attn_output_norm": lambda s: (s.embd,),
    "post_attention_norm": lambda s: (s.embd,),
    "layer_output_norm": lambda s: (s.embd,),
    "ffn_norm": lambda s: (s.embd,),
    "post_ffw_norm": lambda s: (s.embd,),
    "ffn_gate": lambda s: (s.embd, s.ff),
    "ffn_up": lambda s: (s.embd, s.ff),
    "ffn_down": lambda s: (s.ff, s.embd),
    "ffn_gate_inp": lambda s: (s.embd, s.experts),
    "ffn_gate_exps": lambda s: (s.embd, s.ff_exp, s.experts),
    "ffn_up_exps": lambda s: (s.embd, s.ff_exp, s.experts),
    "ffn_down_exps": lambda s: (s.ff_exp, s.embd, s.experts),
    "ffn_gate_inp_shexp": lambda s: (s.embd,),
    "ffn_gate_shexp": lambda s: (s.embd, s.ff_shexp),
    "ffn_up_shexp": lambda s: (s.embd, s.ff_shexp),
    "ffn_down_shexp": lambda s: (s.ff_shexp, s.embd),
    "exp_probs_b": lambda s: (s.experts,),
    "attn_sinks": lambda s: (s.heads,),
    "nextn.embed_tokens": lambda s: (s.embd, s.vocab),
    "nextn.shared_head_head": lambda s: (s.embd, s.vocab),
    "nextn.eh_proj": lambda s: (2 * s.embd, s.embd),
    "nextn.enorm": lambda s: (s.embd,),
    "nextn.hnorm": lambda s: (s.embd,),
    "nextn.shared_head_norm": lambda s: (s.embd,),
    "ssm_conv1d": lambda s: (s.of("ssm.conv_kernel"), s.convolved),
    "ssm_out": lambda s: (s.inner, s.embd),
}
"""By the tensor's name without its layer and suffix. A bias is as long as what it is added to."""

_BOTH_IN_ONE: Mapping[str, Rule] = {"ffn_up": lambda s: (s.embd, 2 * s.ff)}
"""The gate lies in it too."""
_NORM_EACH_HEAD: Mapping[str, Rule] = {
    "attn_q_norm": lambda s: (s.key, s.heads),
    "attn_k_norm": lambda s: (s.key, s.kv_heads),
}
_NORM_ALL_HEADS: Mapping[str, Rule] = {
    "attn_q_norm": lambda s: (s.q,),
    "attn_k_norm": lambda s: (s.k,),
}

_GATED_LINEAR: Mapping[str, Rule] = {
    "attn_q": lambda s: (s.embd, 2 * s.q),
    "attn_qkv": lambda s: (s.embd, s.convolved),
    "attn_gate": lambda s: (s.embd, s.inner),
    "ssm_a": lambda s: (s.steps,),
    "ssm_dt": lambda s: (s.steps,),
    "ssm_alpha": lambda s: (s.embd, s.steps),
    "ssm_beta": lambda s: (s.embd, s.steps),
    "ssm_ba": lambda s: (s.embd, 2 * s.steps),
    "ssm_norm": lambda s: (s.inner // s.steps,),
}
"""A gate lies beside the queries; other layers keep a state by the delta rule."""

_LATENT: Mapping[str, Rule] = {
    "attn_q": lambda s: (s.embd, s.heads * s.of("attention.key_length_mla")),
    "attn_q_a": lambda s: (s.embd, s.of("attention.q_lora_rank")),
    "attn_q_a_norm": lambda s: (s.of("attention.q_lora_rank"),),
    "attn_q_b": lambda s: (
        s.of("attention.q_lora_rank"),
        s.heads * s.of("attention.key_length_mla"),
    ),
    "attn_kv_a_mqa": lambda s: (s.embd, s.key),
    "attn_kv_a_norm": lambda s: (s.of("attention.kv_lora_rank"),),
    "attn_k_b": lambda s: (
        s.of("attention.key_length_mla") - s.of("rope.dimension_count"),
        s.of("attention.kv_lora_rank"),
        s.heads,
    ),
    "attn_v_b": lambda s: (
        s.of("attention.kv_lora_rank"),
        s.of("attention.value_length_mla"),
        s.heads,
    ),
    "attn_output": lambda s: (s.heads * s.of("attention.value_length_mla"), s.embd),
}
"""Keys and values of all heads come from a few numbers."""
_LATENT_AND_WHOLE: Mapping[str, Rule] = {
    "attn_q_a": _LATENT["attn_q_a"],
    "attn_q_a_norm": _LATENT["attn_q_a_norm"],
    "attn_q_b": lambda s: (s.of("attention.q_lora_rank"), s.q),
    "attn_kv_a_mqa": lambda s: (
        s.embd,
        s.of("attention.kv_lora_rank") + s.of("rope.dimension_count"),
    ),
    "attn_kv_a_norm": _LATENT["attn_kv_a_norm"],
    "attn_kv_b": lambda s: (
        s.of("attention.kv_lora_rank"),
        s.heads * (s.key - s.of("rope.dimension_count") + s.value),
    ),
}
"""The same, but each head's keys and values are computed in full."""
_SHORT_CONVOLUTION: Mapping[str, Rule] = {
    "shortconv.conv": lambda s: (s.of("shortconv.l_cache"), s.embd),
    "shortconv.in_proj": lambda s: (s.embd, 3 * s.embd),
    "shortconv.out_proj": lambda s: (s.embd, s.embd),
}

_STATE: Mapping[str, Rule] = {
    "ssm_in": lambda s: (s.embd, 2 * s.inner),
    "ssm_conv1d": lambda s: (s.of("ssm.conv_kernel"), s.inner),
    "ssm_x": lambda s: (s.inner, s.steps + 2 * s.of("ssm.state_size")),
    "ssm_dt": lambda s: (s.steps, s.inner),
    "ssm_dt_norm": lambda s: (s.steps,),
    "ssm_b_norm": lambda s: (s.of("ssm.state_size"),),
    "ssm_c_norm": lambda s: (s.of("ssm.state_size"),),
    "ssm_a": lambda s: (s.of("ssm.state_size"), s.inner),
    "ssm_d": lambda s: (s.inner,),
}
"""Of the first Mamba: a state for each number of the inner width."""
_STATE_OF_HEADS: Mapping[str, Rule] = {
    "ssm_in": lambda s: (s.embd, s.inner + s.convolved + s.steps),
    "ssm_dt": lambda s: (s.steps,),
    "ssm_a": lambda s: (1, s.steps),
    "ssm_d": lambda s: (1, s.steps),
    "ssm_norm": lambda s: (s.inner // s.of("ssm.group_count"), s.of("ssm.group_count")),
}
"""Of the second: one decay for each head."""
_EXPERTS_IN_LATENT_SPACE: Mapping[str, Rule] = {
    **_STATE_OF_HEADS,
    "ffn_up_exps": lambda s: (s.of("moe_latent_size", s.embd), s.ff_exp, s.experts),
    "ffn_down_exps": lambda s: (s.ff_exp, s.of("moe_latent_size", s.embd), s.experts),
    "ffn_latent_down": lambda s: (s.embd, s.of("moe_latent_size")),
    "ffn_latent_up": lambda s: (s.of("moe_latent_size"), s.embd),
}

_INPUT_OF_EACH_LAYER: Mapping[str, Rule] = {
    "per_layer_token_embd": lambda s: (s.layer_input * s.layers, s.vocab),
    "per_layer_model_proj": lambda s: (s.embd, s.layer_input * s.layers),
    "per_layer_proj_norm": lambda s: (s.layer_input,),
    "inp_gate": lambda s: (s.embd, s.layer_input),
    "proj": lambda s: (s.layer_input, s.embd),
    "post_norm": lambda s: (s.embd,),
}
_LAUREL_RANK = 64
"""No metadata says it; llama.cpp knows it."""
_STREAMS: Mapping[str, Rule] = {
    **_INPUT_OF_EACH_LAYER,
    "altup_proj": lambda s: (s.embd, s.embd, s.streams - 1),
    "altup_unembd_proj": lambda s: (s.embd, s.embd, s.streams - 1),
    "altup_correct_coef": lambda s: (s.streams, s.streams),
    "altup_correct_scale": lambda s: (s.embd,),
    "altup_predict_coef": lambda s: (s.streams, s.streams * s.streams),
    "altup_router": lambda s: (s.embd, s.streams),
    "altup_router_norm": lambda s: (s.embd,),
    "laurel_l": lambda s: (s.embd, _LAUREL_RANK),
    "laurel_r": lambda s: (_LAUREL_RANK, s.embd),
    "laurel_post_norm": lambda s: (s.embd,),
}
_HEADS_OF_WINDOWS: Mapping[str, Rule] = {
    **_INPUT_OF_EACH_LAYER,
    "attn_q": lambda s: (s.embd, s.heads * s.key_here),
    "attn_k": lambda s: (s.embd, s.kv_heads * s.key_here),
    "attn_v": lambda s: (s.embd, s.kv_heads * s.key_here),
    "attn_output": lambda s: (s.heads * s.key_here, s.embd),
    "attn_q_norm": lambda s: (s.key_here,),
    "attn_k_norm": lambda s: (s.key_here,),
    "rope_freqs": lambda s: (s.key // 2,),
    "pre_ffw_norm_2": lambda s: (s.embd,),
    "post_ffw_norm_1": lambda s: (s.embd,),
    "post_ffw_norm_2": lambda s: (s.embd,),
    "layer_output_scale": lambda s: (1,),
    "ffn_gate_inp.scale": lambda s: (s.embd,),
    "ffn_down_exps.scale": lambda s: (s.experts,),
    "ffn_gate_up_exps": lambda s: (s.embd, 2 * s.ff_exp, s.experts),
}
"""Layers that see a window have heads of another width."""

_NOTHING_OF_ITS_OWN: Sequence[str] = (
    *("apertus", "arcee", "baichuan", "bailingmoe", "bailingmoe2", "dots1", "ernie4_5"),
    *(
        "ernie4_5-moe",
        "exaone4",
        "glm4moe",
        "hunyuan-dense",
        "hunyuan-moe",
        "llama4",
        "minicpm",
        "mistral3",
    ),
    *("phi2", "phimoe", "seed_oss"),
    *("bert", "bloom", "cohere2", "falcon", "gemma", "gemma2", "gemma3", "gpt2", "gptneox"),
    *(
        "gpt-oss",
        "granite",
        "granitemoe",
        "internlm2",
        "llama",
        "mpt",
        "nomic-bert",
        "olmo",
        "phi2",
    ),
    *("qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe"),
    *("smollm3", "starcoder", "starcoder2"),
)
RULES_OF: Mapping[str, Mapping[str, Rule]] = {
    **{name: {} for name in _NOTHING_OF_ITS_OWN},
    "chatglm": _BOTH_IN_ONE,
    "command-r": _NORM_EACH_HEAD,
    "deepseek2": _LATENT,
    "deepseek32": {
        **_LATENT,
        "indexer.k_norm": lambda s: (s.of("attention.indexer.key_length"),),
        "indexer.proj": lambda s: (s.embd, s.of("attention.indexer.head_count")),
        "indexer.attn_k": lambda s: (s.embd, s.of("attention.indexer.key_length")),
        "indexer.attn_q_b": lambda s: (
            s.of("attention.q_lora_rank"),
            s.of("attention.indexer.head_count") * s.of("attention.indexer.key_length"),
        ),
    },
    "falcon-h1": _STATE_OF_HEADS,
    "gemma-embedding": {
        "dense_2": lambda s: (s.of("dense_2_feat_in"), s.of("dense_2_feat_out")),
        "dense_3": lambda s: (s.of("dense_3_feat_in"), s.of("dense_3_feat_out")),
    },
    "gemma3n": _STREAMS,
    "gemma4": _HEADS_OF_WINDOWS,
    "glm4": _BOTH_IN_ONE,
    "granitehybrid": _STATE_OF_HEADS,
    "jamba": _STATE,
    "jina-bert-v2": {
        "attn_q_norm": lambda s: (s.embd,),
        "attn_k_norm": lambda s: (s.embd,),
        "ffn_up": lambda s: (s.embd, 2 * s.ff),
    },
    "mamba": _STATE,
    "mamba2": _STATE_OF_HEADS,
    "modern-bert": _BOTH_IN_ONE,
    "neo-bert": _BOTH_IN_ONE,
    "nemotron_h": _STATE_OF_HEADS,
    "nemotron_h_moe": _EXPERTS_IN_LATENT_SPACE,
    "lfm2": _SHORT_CONVOLUTION,
    "lfm2moe": _SHORT_CONVOLUTION,
    "minicpm3": _LATENT_AND_WHOLE,
    "minimax-m2": _NORM_ALL_HEADS,
    "olmo2": _NORM_ALL_HEADS,
    "olmoe": _NORM_ALL_HEADS,
    "phi3": _BOTH_IN_ONE,
    "qwen35": _GATED_LINEAR,
    "qwen35moe": _GATED_LINEAR,
    "qwen3next": _GATED_LINEAR,
    "stablelm": _NORM_EACH_HEAD,
}
"""What an architecture has of its own; those not in here are not checked."""
