"""GLM-4: the models of 2024 in transformers' form (Glm), and those of 2025 (Glm4).

References: llama.cpp `conversion/chatglm.py`, `conversion/glm.py`; transformers `models/glm`,
`models/glm4`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles

__all__ = ["Glm", "Glm4"]

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
