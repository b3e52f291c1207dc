"""InternLM2, GLM and MPT: see `family_case.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase

__all__ = ["GLM_CASES"]

_Shapes = dict[str, tuple[int, ...]]

_INTERNLM2: Mapping[str, Any] = {
    "architectures": ["InternLM2ForCausalLM"],
    "attn_implementation": "eager",
    "auto_map": {
        "AutoConfig": "configuration_internlm2.InternLM2Config",
        "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
        "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
    },
    "bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 32768,
    "model_type": "internlm2",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.0",
    "use_cache": True,
    "vocab_size": 512,
    "pretraining_tp": 1,
}
"""internlm/internlm2_5-1_8b-chat."""

_GLM: Mapping[str, Any] = {
    "architectures": ["GlmForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": [151329, 151336, 151338],
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 352,
    "max_position_embeddings": 131072,
    "model_type": "glm",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 50256,
    "rms_norm_eps": 1.5625e-07,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.0.dev0",
    "use_cache": True,
    "vocab_size": 50304,
}
"""zai-org/glm-4-9b-chat-hf."""

_GLM4: Mapping[str, Any] = {
    **_GLM,
    "architectures": ["Glm4ForCausalLM"],
    "attention_bias": False,
    "hidden_size": 256,
    "intermediate_size": 768,
    "max_position_embeddings": 32768,
    "model_type": "glm4",
    "num_attention_heads": 8,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-05,
    "transformers_version": "4.52.0.dev0",
}
"""zai-org/GLM-4-9B-0414."""

_MPT: Mapping[str, Any] = {
    "architectures": ["MPTForCausalLM"],
    "attn_config": {
        "alibi": True,
        "alibi_bias_max": 8,
        "attn_impl": "torch",
        "attn_pdrop": 0,
        "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False,
        "clip_qkv": 6.0,
        "prefix_lm": False,
        "qk_ln": False,
        "softmax_scale": None,
    },
    "d_model": 128,
    "emb_pdrop": 0,
    "embedding_fraction": 1.0,
    "expansion_ratio": 4,
    "init_device": "cpu",
    "learned_pos_emb": True,
    "logit_scale": None,
    "max_seq_len": 65536,
    "model_type": "mpt",
    "n_heads": 4,
    "n_layers": 2,
    "no_bias": True,
    "norm_type": "low_precision_layernorm",
    "resid_pdrop": 0,
    "tokenizer_name": "EleutherAI/gpt-neox-20b",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.28.1",
    "use_cache": False,
    "vocab_size": 50432,
}
"""mosaicml/mpt-7b-storywriter, whose alibi_bias_max is 16, which transformers overlooks."""


def _internlm2_tensors() -> _Shapes:
    layer: _Shapes = {
        "attention.wqkv.weight": (384, 256),
        "attention.wo.weight": (256, 256),
        "attention_norm.weight": (256,),
        "feed_forward.w1.weight": (768, 256),
        "feed_forward.w2.weight": (256, 768),
        "feed_forward.w3.weight": (768, 256),
        "ffn_norm.weight": (256,),
    }
    return {
        "model.tok_embeddings.weight": (512, 256),
        **{f"model.layers.{i}.{name}": shape for i in range(3) for name, shape in layer.items()},
        "model.norm.weight": (256,),
        "output.weight": (512, 256),
    }


GLM_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("internlm2-tiny", _INTERNLM2, "models/stories260K-hf", tensors=_internlm2_tensors()),
    FamilyCase("glm-tiny", _GLM, "gpt2", added_tokens=("<|user|>",)),
    FamilyCase("glm4-tiny", _GLM4, "gpt2", added_tokens=("<|user|>",)),
    FamilyCase("mpt-tiny", _MPT, "gpt2"),
)
