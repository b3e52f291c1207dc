"""GPT-NeoX and Pythia; and BLOOM, whose attention is fused the same way.

References: llama.cpp `conversion/gptneox.py`, `conversion/bloom.py`; transformers
`models/gpt_neox`, `models/bloom`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.source_tensor import SourceTensor

__all__ = ["Bloom", "GptNeoX"]


class GptNeoX(Decoder):
    architecture = "gptneox"
    names: ClassVar[TensorNames] = {
        "gpt_neox.embed_in": "token_embd",
        "gpt_neox.final_layer_norm": "output_norm",
        "embed_out": "output",
        "gpt_neox.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "gpt_neox.layers.{i}.attention.query_key_value": "blk.{i}.attn_qkv",
        "gpt_neox.layers.{i}.attention.dense": "blk.{i}.attn_output",
        "gpt_neox.layers.{i}.post_attention_layernorm": "blk.{i}.ffn_norm",
        "gpt_neox.layers.{i}.mlp.dense_h_to_4h": "blk.{i}.ffn_up",
        "gpt_neox.layers.{i}.mlp.dense_4h_to_h": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 50432,
        "hidden_size": 6144,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "intermediate_size": 24576,
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
    }

    @property
    def heads(self) -> int:
        return self.integer("n_head", "num_attention_heads")

    def hyperparameters(self) -> None:
        """The converter writes no file type for this family."""
        width = self.integer("hidden_size")
        rotary = self.number(self.config, "rotary_pct")
        self.u32("context_length", self.integer("max_position_embeddings"))
        self.u32("embedding_length", width)
        self.u32("block_count", self.layers)
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("rope.dimension_count", int(rotary * (width // self.heads)))
        self.u32("attention.head_count", self.heads)
        self.flag("use_parallel_residual", self.config["use_parallel_residual"] is not False)
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_eps"))
        if self.config.get("rotary_emb_base") is not None:
            self.config["rope_theta"] = self.number(self.config, "rotary_emb_base")
        self.unusual_rope()

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if ".query_key_value." not in name:
            return None
        return np.concatenate(self.split_qkv(name, rows, self.heads, self.heads))


class Bloom(GptNeoX):
    architecture = "bloom"
    names: ClassVar[TensorNames] = {
        "word_embeddings": "token_embd",
        "word_embeddings_layernorm": "token_embd_norm",
        "ln_f": "output_norm",
        "lm_head": "output",
        "h.{i}.input_layernorm": "blk.{i}.attn_norm",
        "h.{i}.self_attention.query_key_value": "blk.{i}.attn_qkv",
        "h.{i}.self_attention.dense": "blk.{i}.attn_output",
        "h.{i}.post_attention_layernorm": "blk.{i}.ffn_norm",
        "h.{i}.mlp.dense_h_to_4h": "blk.{i}.ffn_up",
        "h.{i}.mlp.dense_4h_to_h": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 250880,
        "layer_norm_epsilon": 1e-5,
    }

    def hyperparameters(self) -> None:
        width = self.integer("hidden_size", "n_embed")
        # BLOOM has no positions that could run out; where the config names no length, llama.cpp
        # takes the width.
        self.u32("context_length", self.integer("seq_length", "hidden_size", "n_embed"))
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", 4 * width)
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.heads)
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_epsilon"))
        self.file_type()

    def gguf_name(self, name: str, source: SourceTensor) -> str:
        return super().gguf_name(name.removeprefix("transformer."), source)
