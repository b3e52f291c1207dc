"""GLM-4: the models of 2024 in transformers' form (Glm), and those of 2025 (Glm4).

References: llama.cpp `conversion/chatglm.py`, `conversion/glm.py`; transformers `models/glm`,
`models/glm4`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import GATING, Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NEXT_TOKEN, NORMS
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles

__all__ = ["Glm", "Glm4", "Glm4Moe"]

_LAYER = re.compile(r"\.layers\.(\d{1,4})\.")

_NAMES: TensorNames = {
    **EMBEDDINGS,
    **ATTENTION,
    **NORMS,
    # Gate and up in one; llama.cpp takes it as it is.
    "model.layers.{i}.mlp.gate_up_proj": "blk.{i}.ffn_up",
    "model.layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
}
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1.5625e-7,
    "rope_theta": 10000.0,
}
_FALLBACKS = {"eos": "<|endoftext|>", "eot": "<|user|>", "unk": "<|endoftext|>"}
"""Special tokens that the published checkpoints do not declare."""


class _GlmBase(Decoder):
    names: ClassVar[TensorNames] = _NAMES
    config_defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS
    special: ClassVar[Mapping[str, str]] = _FALLBACKS

    def rotary(self, head_dim: int) -> int:
        """How many of a head's dimensions are rotated."""
        return int(head_dim * self.number(self.rope_parameters(), "partial_rotary_factor", 0.5))

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields, fallbacks=self.special))


class Glm(_GlmBase):
    architecture = "chatglm"

    def hyperparameters(self) -> None:
        """llama.cpp knows the keys of the original code only: it would write the width for the
        context's length, and other constants for the norms' epsilon and the rope's base."""
        self.u32("context_length", self.integer("seq_length", "max_position_embeddings"))
        self.u32("embedding_length", self.integer("hidden_size"))
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.file_type()
        self.u32("rope.dimension_count", self.rotary(self.head_dim))
        self.fields.boolean("tokenizer.ggml.add_bos_token", False)
        self.f32("rope.freq_base", self.number(self.rope_parameters(), "rope_theta"))


class Glm4(_GlmBase):
    """Norms after attention and feed-forward too."""

    architecture = "glm4"
    names: ClassVar[TensorNames] = {
        **_NAMES,
        "model.layers.{i}.post_self_attn_layernorm": "blk.{i}.post_attention_norm",
        "model.layers.{i}.post_mlp_layernorm": "blk.{i}.post_ffw_norm",
    }
    special: ClassVar[Mapping[str, str]] = {**_FALLBACKS, "bos": "<|endoftext|>"}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("rope.dimension_count", self.rotary(self.head_dim))


class Glm4Moe(_GlmBase):
    """GLM-4.5 to 4.7 with experts; the last layer predicts a token more."""

    architecture = "glm4moe"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **GATED_MLP,
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
        "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
        "model.layers.{i}.mlp.gate": "blk.{i}.ffn_gate_inp",
        **{
            f"model.layers.{{i}}.mlp.shared_experts.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
            for kind in ("gate", "up", "down")
        },
        **NEXT_TOKEN,
    }
    exact: ClassVar[TensorNames] = {
        "model.layers.{i}.mlp.gate.e_score_correction_bias": "blk.{i}.exp_probs_b.bias"
    }
    experts: ClassVar[TensorNames] = {
        f"model.layers.{{i}}.mlp.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "gate", "up")
    }
    special: ClassVar[Mapping[str, str]] = {
        "bos": "[gMASK]",
        "eot": "<|user|>",
        "unk": "<|endoftext|>",
        "eom": "<|observation|>",
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.own_layers = self.layers
        layers = {int(m[1]) for name in checkpoint.tensors if (m := _LAYER.search(name))}
        beyond = max(layers, default=0) + 1 - self.own_layers
        if 0 < beyond <= self.count("num_nextn_predict_layers"):
            self.layers += beyond

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        dense = self._dense_layers
        if kind in ("nextn.embed_tokens", "nextn.shared_head_head"):
            return True
        if kind.startswith("nextn."):
            return layer < self.own_layers
        if kind in ("attn_q_norm", "attn_k_norm"):
            return not self.config.get("use_qk_norm")
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return layer >= dense
        return kind.startswith("ffn_") and layer < dense

    @property
    def _dense_layers(self) -> int:
        return self.count("first_k_dense_replace", self.layers)

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("rope.dimension_count", self.rotary(self.head_dim))
        self._u32_from("expert_count", "n_routed_experts")
        self._u32_from("expert_feed_forward_length", "moe_intermediate_size")
        self._u32_from("expert_shared_count", "n_shared_experts")
        self.u32("leading_dense_block_count", self._dense_layers)
        self.u32("expert_gating_func", GATING["sigmoid"])
        if self.config.get("routed_scaling_factor") is not None:
            self.f32("expert_weights_scale", self.number(self.config, "routed_scaling_factor"))
        if isinstance(norm := self.config.get("norm_topk_prob"), bool):
            self.flag("expert_weights_norm", norm)
        if self.config.get("num_nextn_predict_layers") is not None:
            self.u32("nextn_predict_layers", self.layers - self.own_layers)
